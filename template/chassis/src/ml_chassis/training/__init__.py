"""From clean rows to a registered model."""

from pathlib import Path

RETRAINING = Path("build/retraining")
"""Folder in which a retraining says what came of it: result.json, and pages for people."""
