"""Predictions and labels of a stream: messages in, predictions and dead letters out."""

# Its settings of the environment hold here too, and are made before anything heavy is imported.
from .. import serving  # noqa: F401
from ..errors import UserError


class StreamError(UserError):
    """The stream cannot be read: no broker is named, it does not answer, or its group is gone."""


def brief(error: BaseException) -> str:
    """Return an error in one line; what follows the first may hold values."""
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
