"""Mistakes of people, told in a sentence."""

from pydantic import ValidationError


class UserError(Exception):
    """Something that a person can repair; the message says what and how."""


def describe(error: ValidationError) -> str:
    """Return what is wrong with which field, without the values, which may be secret."""
    return "; ".join(
        f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
        for detail in error.errors(include_url=False, include_input=False)
    )
