"""A/B tests of two models: what was planned, what was found, what is decided."""
