"""From raw values, which may be text, to values of the declared types."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from . import DataError
from .sources import POSITION, Broken
from .tables import RawTable, Type

MISSING = ("", "na", "n/a", "nan", "null", "none")
TRUE, FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")
DTYPES: dict[Type, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    datetime: pl.Datetime("us"),
}
WORDS: dict[Type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    datetime: "a time, such as 2026-01-31T12:00:00Z",
}
REASON = "_reason"


@dataclass(frozen=True)
class Parsed:
    """The rows of one chunk.

    Attributes:
        rows: The columns of the table, in their types; times are in UTC, without saying so.
        refused: Rows of which a value cannot be read, or the key is missing.
    """

    rows: pl.DataFrame
    refused: list[Broken]


def parse(raw: pl.DataFrame, table: RawTable, sparse: bool = False) -> Parsed:
    """Read every value as the type that the table declares.

    Args:
        raw: The rows, with their `position`.
        table: The declaration.
        sparse: Whether a row may leave out what it does not have, as in JSON.

    Raises:
        DataError: a declared column is missing.
    """
    missing = sorted(table.columns.keys() - set(raw.columns))
    if missing and not sparse:
        raise DataError(f"{table.name}: there is no column {', '.join(missing)}.")
    raw = raw.with_columns(pl.lit(None, pl.String).alias(name) for name in missing)
    known = raw.select(POSITION, *(cleared(name, raw.schema[name]) for name in table.columns))
    checked = to_types(known, table.columns, table.key)
    good = checked.filter(pl.col(REASON) == "").select(*table.columns)
    bad = checked.filter(pl.col(REASON) != "").select(POSITION, REASON)
    contents = known.join(bad, on=POSITION, how="semi").drop(POSITION).to_dicts()
    refused = [
        Broken(position, reason, json.dumps(content, default=str, ensure_ascii=False))
        for (position, reason), content in zip(bad.rows(), contents, strict=True)
    ]
    return Parsed(good.unique(table.key, keep="last", maintain_order=True), refused)


def to_types(
    known: pl.DataFrame, columns: Mapping[str, Type], key: Iterable[str] = ()
) -> pl.DataFrame:
    """Return some columns in their types, and the column `_reason`: what cannot be read, or "".

    Args:
        known: The columns; null is missing.
        columns: The type of each.
        key: Those that may not be missing.
    """
    read = known.with_columns(
        _typed(name, kind, known.schema[name]) for name, kind in columns.items()
    )
    problems = [
        *(_unreadable(name, kind, known[name]) for name, kind in columns.items()),
        *(_absent(name, known[name]) for name in key),
    ]
    return read.with_columns(
        pl.concat_str(problems, separator="; ", ignore_nulls=True).alias(REASON)
    )


def cleared(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column in which what says that a value is missing is null."""
    value = pl.col(name)
    if dtype == pl.String:
        value = value.str.strip_chars()
        return pl.when(~value.str.to_lowercase().is_in(MISSING)).then(value).alias(name)
    return value.fill_nan(None) if dtype.is_float() else value


def _typed(name: str, kind: Type, dtype: pl.DataType) -> pl.Expr:
    """Return a column in its type, null where it cannot be read."""
    value = pl.col(name)
    if kind is datetime:
        return _time(value, dtype).alias(name)
    if kind is bool:
        words = value.cast(pl.String, strict=False).str.to_lowercase()
        read = pl.when(words.is_in(TRUE)).then(True).when(words.is_in(FALSE)).then(False)
        return read.alias(name)
    if kind is int and not dtype.is_integer():  # "12" and 12.0 are whole, 12.5 is not
        number = value.cast(pl.Float64, strict=False)
        whole = value.cast(pl.Int64, strict=False) if dtype == pl.String else None
        rounded = pl.when(number == number.floor()).then(number.cast(pl.Int64, strict=False))
        return pl.coalesce(whole, rounded).alias(name)
    return value.cast(DTYPES[kind], strict=False)


def _time(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Datetime):
        aware = value.dt.convert_time_zone("UTC") if dtype.time_zone else value
        return aware.dt.replace_time_zone(None).cast(DTYPES[datetime])
    if dtype == pl.String:
        return value.map_elements(_iso, DTYPES[datetime])
    return value.cast(DTYPES[datetime], strict=False)


def _iso(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


def _unreadable(name: str, kind: Type, before: pl.Series) -> pl.Expr:
    lost = pl.col(name).is_null() & pl.lit(before).is_not_null()
    return pl.when(lost).then(pl.lit(f"{name}: not {WORDS[kind]}"))


def _absent(name: str, before: pl.Series) -> pl.Expr:
    return pl.when(pl.lit(before).is_null()).then(pl.lit(f"{name}: missing"))
