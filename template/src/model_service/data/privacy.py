"""Personal values are kept out of messages."""

import csv

from ..contract import PERSONAL
from .features import PERSONAL_KEYS
from .raw import TABLES

FEATURE_COLUMNS = frozenset({*PERSONAL, *PERSONAL_KEYS})
"""The personal columns of rows with features."""
ANY = bool(FEATURE_COLUMNS) or any(table.personal for table in TABLES)
SAFE = (OSError, EOFError, ImportError, UnicodeError, csv.Error)
"""Errors that hold no value of a row."""


def said(error: Exception) -> str:
    """Return what an error says, if it cannot hold a personal value."""
    if isinstance(error, SAFE) or not ANY:
        return str(error)
    return f"{type(error).__name__}, whose words are not shown, as rows hold personal values"
