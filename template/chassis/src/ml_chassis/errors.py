"""Mistakes of people, told in a sentence."""

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError


class UserError(Exception):
    """Something that a person can repair; the message says what and how."""


def why(error: Exception, model: type[BaseModel] | None = None) -> str:
    """Return why a file cannot be read, or what it says cannot be used, without its values.

    Args:
        error: What was raised.
        model: What the file is to say, where that is known.
    """
    if isinstance(error, ValidationError):
        return describe(error, model=model)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        at = error.problem_mark
        return f"line {at.line + 1}, column {at.column + 1}: {error.problem}."
    if isinstance(error, UnicodeDecodeError):
        return "it is not written in UTF-8; save it again in that encoding."
    return f"{error.strerror}." if isinstance(error, OSError) else str(error)


def describe(error: ValidationError, prefix: str = "", model: type[BaseModel] | None = None) -> str:
    """Return what is wrong with which field, without the values, which may be secret.

    Args:
        error: What Pydantic found.
        prefix: Of environment variables, where the fields are such.
        model: That was to be made; with it, an unknown key is told which there are.
    """
    return "; ".join(
        _describe(".".join(map(str, detail["loc"])), _message(dict(detail), model), prefix)
        for detail in error.errors(include_url=False, include_input=False)
    )


def _message(detail: dict[str, Any], model: type[BaseModel] | None) -> str:
    known = ", ".join(_fields(model, detail["loc"][:-1])) if model else ""
    if detail["type"] == "extra_forbidden" and known:
        return f"there is no such key; give some of {known}"
    return str(detail["msg"])


def _fields(model: Any, place: tuple[int | str, ...]) -> Iterator[str]:
    """Yield the fields of a model, or of one that is a field of it."""
    for name in place:
        field = model.model_fields.get(name)
        model = field.annotation if field else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return
    yield from model.model_fields


def _describe(name: str, message: str, prefix: str) -> str:
    message = message.removeprefix("Value error, ")
    name = f"{prefix}{name.upper()}" if name and prefix else name
    return f"{name}: {message}" if name else message
