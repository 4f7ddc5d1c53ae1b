"""Mistakes of people, told in a sentence."""

from pydantic import ValidationError


class UserError(Exception):
    """Something that a person can repair; the message says what and how."""


def why(error: Exception) -> str:
    """Return why a file cannot be read, or what it says cannot be used, without its values."""
    if isinstance(error, ValidationError):
        return describe(error)
    if isinstance(error, UnicodeDecodeError):
        return "it is not written in UTF-8; save it again in that encoding."
    return f"{error.strerror}." if isinstance(error, OSError) else str(error)


def describe(error: ValidationError, prefix: str = "") -> str:
    """Return what is wrong with which field, without the values, which may be secret.

    Args:
        error: What Pydantic found.
        prefix: Of environment variables, where the fields are such.
    """
    return "; ".join(
        _describe(".".join(map(str, detail["loc"])), detail["msg"], prefix)
        for detail in error.errors(include_url=False, include_input=False)
    )


def _describe(name: str, message: str, prefix: str) -> str:
    message = message.removeprefix("Value error, ")
    name = f"{prefix}{name.upper()}" if name and prefix else name
    return f"{name}: {message}" if name else message
