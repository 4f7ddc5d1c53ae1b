"""JSON to rows: msgspec decides about good requests, Pydantic finds the words for the others.

msgspec decodes and checks a request several times faster than Pydantic; Pydantic, which defines
what a valid row is, explains every problem of a refused one. What only msgspec refuses is
accepted on the second reading, so Pydantic alone decides. A property-based test holds the two to
the same verdict.
"""

import math
from collections.abc import Iterable, Sequence, Set
from typing import Annotated, Any, Literal, cast

import msgspec
from pydantic import TypeAdapter, ValidationError

from ..contract import CATEGORICAL, FEATURES, NUMERIC, Column, Row, to_row
from ..schema import Features
from . import messages

TYPES = {"number": float, "integer": int, "boolean": bool, "string": str}
MAX_KNOWN = 10_000


class Known:
    """The texts of one column that are known to be valid."""

    def __init__(self, name: str) -> None:
        """Take the name of a categorical feature."""
        field = Features.model_fields[name]
        annotation: Any = Annotated[cast(Any, field.annotation), field]
        self._type: TypeAdapter[str | None] = TypeAdapter(annotation)
        self._valid: set[str | None] = set()

    def has(self, texts: Set[str | None]) -> bool:
        """Return whether all texts are valid."""
        return texts <= self._valid or not self.invalid(texts)

    def invalid(self, texts: Set[str | None]) -> set[str | None]:
        """Return the texts that are not valid."""
        return {text for text in texts if not self._is_valid(text)}

    def _is_valid(self, text: str | None) -> bool:
        if text in self._valid:
            return True
        try:
            self._type.validate_python(text)
        except ValidationError:
            return False
        if len(self._valid) >= MAX_KNOWN:
            self._valid.clear()
        self._valid.add(text)
        return True


def _type(column: Column) -> Any:
    """Return the type annotation that makes msgspec check a column; patterns are left out."""
    base: Any = TYPES[column.type]
    if column.choices:
        base = Literal[column.choices]
    else:
        limits: dict[str, Any] = {
            "ge": column.minimum,
            "le": column.maximum,
            "gt": column.above,
            "lt": column.below,
            "max_length": column.max_length,
        }
        given = {name: limit for name, limit in limits.items() if limit is not None}
        base = Annotated[base, msgspec.Meta(**given)] if given else base
    return base | None if column.nullable else base


def _field(column: Column) -> tuple[str, Any] | tuple[str, Any, Any]:
    return (column.name, _type(column), None) if column.nullable else (column.name, _type(column))


_COLUMNS = {column.name: column for column in FEATURES}
# In the order of `Row`, so that a decoded row is one by taking its fields.
_DecodedRow = msgspec.defstruct(
    "_DecodedRow",
    [_field(_COLUMNS[name]) for name in (*NUMERIC, *CATEGORICAL)],
    kw_only=True,
    forbid_unknown_fields=True,
    gc=False,
)


class _DecodedRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    rows: list[_DecodedRow]  # type: ignore[valid-type]


_request = msgspec.json.Decoder(_DecodedRequest)
KNOWN = {name: Known(name) for name in CATEGORICAL}
_WITH_PATTERN = [
    (position, KNOWN[name])
    for position, name in enumerate((*NUMERIC, *CATEGORICAL))
    if _COLUMNS[name].pattern
]


def decode(body: bytes, max_rows: int) -> Sequence[Row]:
    """Return the rows of a request.

    Raises:
        RefusedError: the body is no JSON (400), or not a valid request (422).
    """
    rows = _decode_fast(body)
    if rows and len(rows) <= max_rows:
        return rows
    return [to_row(vars(row)) for row in messages.parse(body, max_rows)]


def check_rows(rows: list[Any], max_rows: int) -> Sequence[Row]:
    """Return rows that were decoded already, checked by the rules of `decode`.

    Two habits of data frames are understood: a missing value is NaN, and in a column with one a
    whole number is a float. So is a value in a list of its own, a tensor of the shape (rows, 1).

    Raises:
        RefusedError: a row is not valid, or there are none or too many (422).
    """
    if 0 < len(rows) <= max_rows:
        if checked := _convert(rows):
            return checked
        rows = [_plain(row) for row in rows]
        if checked := _convert(rows):
            return checked
    return [to_row(vars(row)) for row in messages.parse(rows, max_rows)]


def _decode_fast(body: bytes) -> list[Row]:
    """Return the rows, or none when anything is wrong with the request."""
    try:
        return _to_rows(_request.decode(body).rows)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return []


def _convert(rows: list[Any]) -> list[Row]:
    """Return the rows, or none when anything is wrong with one."""
    try:
        return _to_rows(msgspec.convert(rows, list[_DecodedRow]))  # type: ignore[valid-type]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return []


def _to_rows(decoded: Iterable[msgspec.Struct]) -> list[Row]:
    """Return the rows, or none when a text does not match its pattern."""
    rows: list[Row] = [msgspec.structs.astuple(row) for row in decoded]
    if all(known.has({row[position] for row in rows}) for position, known in _WITH_PATTERN):
        return rows
    return []


def _plain(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    return {name: _plain_value(value, _COLUMNS.get(name)) for name, value in row.items()}


def _plain_value(value: Any, column: Column | None) -> Any:
    """Return a value as JSON for /predict has it."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, float) and math.isnan(value):
        return None
    if column and column.type == "boolean" and isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if column and column.type == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
