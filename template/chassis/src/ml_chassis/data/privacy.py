"""Personal values are kept out of messages."""

import csv

SAFE = (OSError, EOFError, ImportError, UnicodeError, csv.Error)
"""Errors that hold no value of a row."""


def said(error: Exception, private: bool) -> str:
    """Return what an error says, if it cannot hold a personal value.

    Args:
        error: What went wrong.
        private: Whether the rows hold personal values.
    """
    if isinstance(error, SAFE) or not private:
        return str(getattr(error, "orig", None) or error)  # a database's own words, without the SQL
    return f"{type(error).__name__}, whose words are not shown, as rows hold personal values"
