"""JSON to rows: msgspec decides about good requests, Pydantic finds the words for the others.

msgspec decodes and checks a request several times faster than Pydantic; Pydantic, which defines
what a valid row is, explains every problem of a refused one. What only msgspec refuses is
accepted on the second reading, so Pydantic alone decides. A property-based test holds the two to
the same verdict.
"""

import math
from codecs import BOM_UTF8
from collections.abc import Iterable, Sequence, Set
from typing import Annotated, Any, Literal, cast

import msgspec
from pydantic import TypeAdapter, ValidationError

from ..contract import Column, Contract, Row
from .messages import Messages

TYPES = {"number": float, "integer": int, "boolean": bool, "string": str}
MAX_KNOWN = 10_000


class Known:
    """The texts of one column that are known to be valid."""

    def __init__(self, contract: Contract, name: str) -> None:
        """Take the name of a categorical feature."""
        field = contract.schema.model_fields[name]
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


class Decoder:
    """Reads the rows of requests, for one schema.

    Attributes:
        contract: The schema.
        messages: What requests and answers are made of.
        known: The texts that are known to be valid, by categorical feature.
    """

    def __init__(self, contract: Contract) -> None:
        """Make what decodes from a schema."""
        self.contract = contract
        self.messages = Messages(contract)
        self.known = {name: Known(contract, name) for name in contract.categorical}
        # In the order of `Row`, so that a decoded row is one by taking its fields.
        order = [contract.by_name[name] for name in (*contract.numeric, *contract.categorical)]
        row = msgspec.defstruct(
            "_DecodedRow",
            [_field(column) for column in order],
            kw_only=True,
            forbid_unknown_fields=True,
            gc=False,
        )
        self._rows: Any = list[row]  # type: ignore[valid-type]
        request = msgspec.defstruct(
            "_DecodedRequest", [("rows", self._rows)], forbid_unknown_fields=True, gc=False
        )
        self._decode: Any = msgspec.json.Decoder(request).decode
        self._with_pattern = [
            (position, self.known[column.name])
            for position, column in enumerate(order)
            if column.pattern
        ]

    def decode(self, body: bytes, max_rows: int) -> Sequence[Row]:
        """Return the rows of a request.

        Raises:
            RefusedError: the body is no JSON (400), or not a valid request (422).
        """
        rows = self._decode_fast(body)
        if not rows and body.startswith(BOM_UTF8):
            body = body.removeprefix(BOM_UTF8)
            rows = self._decode_fast(body)
        if rows and len(rows) <= max_rows:
            return rows
        return self._parse(body, max_rows)

    def check_rows(self, rows: list[Any], max_rows: int) -> Sequence[Row]:
        """Return rows that were decoded already, checked by the rules of `decode`.

        Two habits of data frames are understood: a missing value is NaN, and in a column with one a
        whole number is a float. So is a value in a list of its own, a tensor of the shape
        (rows, 1).

        Raises:
            RefusedError: a row is not valid, or there are none or too many (422).
        """
        if 0 < len(rows) <= max_rows:
            if checked := self._convert(rows):
                return checked
            rows = [self._plain(row) for row in rows]
            if checked := self._convert(rows):
                return checked
        return self._parse(rows, max_rows)

    def _parse(self, sent: bytes | list[Any], max_rows: int) -> list[Row]:
        to_row = self.contract.to_row
        return [to_row(vars(row)) for row in self.messages.parse(sent, max_rows)]

    def _decode_fast(self, body: bytes) -> list[Row]:
        """Return the rows, or none when anything is wrong with the request."""
        try:
            return self._to_rows(self._decode(body).rows)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return []

    def _convert(self, rows: list[Any]) -> list[Row]:
        """Return the rows, or none when anything is wrong with one."""
        try:
            return self._to_rows(msgspec.convert(rows, self._rows))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return []

    def _to_rows(self, decoded: Iterable[msgspec.Struct]) -> list[Row]:
        """Return the rows, or none when a text does not match its pattern."""
        rows: list[Row] = [msgspec.structs.astuple(row) for row in decoded]
        if all(known.has({row[at] for row in rows}) for at, known in self._with_pattern):
            return rows
        return []

    def _plain(self, row: Any) -> Any:
        if not isinstance(row, dict):
            return row
        columns = self.contract.by_name
        return {name: _plain_value(value, columns.get(name)) for name, value in row.items()}


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
