"""Scoring of files and tables, as the service would answer their rows."""

from ..errors import UserError


class ScoreError(UserError):
    """The rows cannot be read, or the predictions not be written."""
