"""A story that is played on one machine: traffic, a failure, drift, retraining."""
