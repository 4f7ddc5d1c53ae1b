"""From names of columns, which are for people, to identifiers of Python."""

import keyword
import re
import unicodedata
from collections.abc import Iterable

from pydantic import BaseModel

RESERVED = {*dir(BaseModel), "bool", "int", "float", "str", "quarantine_reason"}
"""What a field of schema.py would hide."""
MAX_LENGTH = 50
"""Databases take 63 bytes."""


def identifiers(columns: Iterable[str]) -> dict[str, str]:
    """Return an identifier for each column, all different, such as `petal_length_cm`."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for position, column in enumerate(columns, start=1):
        name = base = _identifier(column) or f"column_{position}"
        number = 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        found[column] = name
    return found


def words(column: str) -> list[str]:
    """Return the words of a name, in lower case."""
    return _identifier(column).split("_")


def _identifier(column: str) -> str:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column)  # PassengerId
    letters = unicodedata.normalize("NFKD", spaced.replace("ß", "ss"))
    plain = "".join(each for each in letters if not unicodedata.combining(each)).lower()
    name = re.sub(r"\W+|_+", "_", plain)
    name = re.sub(r"_+", "_", name)[:MAX_LENGTH].strip("_")
    if not name:
        return ""
    if not name.isidentifier():
        name = f"x_{name}"
    if keyword.iskeyword(name) or name in RESERVED or name.startswith("model_"):
        name = f"{name}_value"
    return name
