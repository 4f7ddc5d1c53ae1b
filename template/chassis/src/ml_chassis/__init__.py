"""A model behind an HTTP service: data, training, serving and monitoring."""
