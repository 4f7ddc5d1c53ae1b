"""From raw tables to clean, labelled rows."""

from ..errors import UserError


class DataError(UserError):
    """The raw data is not there, cannot be read, or does not give the features."""
