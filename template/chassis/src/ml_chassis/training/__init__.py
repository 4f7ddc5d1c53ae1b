"""From clean rows to a registered model."""
