"""What Prometheus sees of the service, on a page."""
