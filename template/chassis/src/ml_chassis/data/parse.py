"""From raw values, which may be text, to values of the declared types."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import polars as pl

from . import DataError
from .formats import Broken
from .tables import MISSING_WORDS, PLAIN, POSITION, Csv, Epoch, RawTable, Type

TRUE, FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")
DTYPES: dict[Type, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    datetime: pl.Datetime("us"),
}
NOON = datetime(2026, 1, 31, 12)
WORDS: dict[Type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    datetime: f"a time, such as {NOON.isoformat()}Z",
}
REASON = "_reason"
EXACT = 2**53
"""Up to it, floats hold all whole numbers."""
FIRST, LAST = -62_135_596_800e6, 253_402_300_799e6
"""The years 1 to 9999, in microseconds since 1970."""
NUMBER = r"^[+-]?\d+(?:\.\d*)?$"
MICROSECONDS: dict[Epoch, float] = {"s": 1e6, "ms": 1e3, "us": 1, "ns": 1e-3}
SPACES = " \u00a0\u2009\u202f'\u2019"
"""What may group thousands, besides the comma or the point."""


@dataclass(frozen=True)
class Parsed:
    """The rows of one chunk.

    Attributes:
        rows: The columns of the table, in their types; times are in UTC, without saying so. Of a
            table without a key also `row_position`.
        refused: Rows of which a value cannot be read, or the key or the time is missing.
    """

    rows: pl.DataFrame
    refused: list[Broken]


def parse(raw: pl.DataFrame, table: RawTable, sparse: bool = False, words: bool = False) -> Parsed:
    """Read every value as the type that the table declares.

    Args:
        raw: The rows, with their `row_position`.
        table: The declaration.
        sparse: Whether a row may leave out what it does not have, as in JSON.
        words: Whether the rows are of CSV, where a word may say that a value is missing.

    Raises:
        DataError: a declared column is missing.
    """
    missing = sorted(table.columns.keys() - set(raw.columns))
    if missing and not sparse:
        raise DataError(f"{table.name}: there is no column {', '.join(missing)}.")
    raw = raw.with_columns(pl.lit(None, pl.String).alias(name) for name in missing)
    usual = ("", *MISSING_WORDS) if words else ()
    stated = usual if table.missing is None else (*usual[:1], *table.missing)
    known = raw.select(
        POSITION, *(cleared(name, raw.schema[name], stated) for name in table.columns)
    )
    required = dict.fromkeys((*table.key, *([table.time] if table.time else [])))
    checked = to_types(known, table.columns, required, table.csv, table.epoch)
    good = checked.filter(pl.col(REASON) == "").select(POSITION, *table.columns)
    bad = checked.filter(pl.col(REASON) != "").select(POSITION, REASON)
    contents = known.join(bad, on=POSITION, how="semi").drop(POSITION).to_dicts()
    refused = [
        Broken(position, reason, json.dumps(content, default=str, ensure_ascii=False))
        for (position, reason), content in zip(bad.rows(), contents, strict=True)
    ]
    if table.key:
        good = good.drop(POSITION).unique(table.key, keep="last", maintain_order=True)
    return Parsed(good, refused)


def to_types(
    known: pl.DataFrame,
    columns: Mapping[str, Type],
    required: Iterable[str] = (),
    csv: Csv = PLAIN,
    epoch: Epoch | None = None,
) -> pl.DataFrame:
    """Return some columns in their types, and the column `_reason`: what cannot be read, or "".

    Args:
        known: The columns; null is missing.
        columns: The type of each.
        required: Those that may not be missing.
        csv: How numbers and times are written, where they are text.
        epoch: The unit of times that are numbers.
    """
    read = known.with_columns(
        _typed(name, kind, known.schema[name], csv, epoch) for name, kind in columns.items()
    )
    problems = [
        *(_unreadable(name, kind, known[name], csv, epoch) for name, kind in columns.items()),
        *(_absent(name, known[name]) for name in required),
    ]
    return read.with_columns(
        pl.concat_str(problems, separator="; ", ignore_nulls=True).alias(REASON)
    )


def cleared(name: str, dtype: pl.DataType, words: Iterable[str] = ()) -> pl.Expr:
    """Return a column in which what says that a value is missing is null; text is stripped.

    Args:
        name: Of the column.
        dtype: Its type.
        words: What says so, in any case.
    """
    value, missing = pl.col(name), [word.strip().lower() for word in words]
    if isinstance(dtype, pl.Categorical | pl.Enum):
        value, dtype = value.cast(pl.String), pl.String()
    if dtype == pl.String:
        value = value.str.strip_chars()
        return pl.when(~value.str.to_lowercase().is_in(missing)).then(value).alias(name)
    if dtype.is_numeric() and (numbers := list(_numbers(missing))):
        value = pl.when(~value.cast(pl.Float64).is_in(numbers)).then(value).alias(name)
    return value.fill_nan(None) if dtype.is_float() else value


def _numbers(words: Iterable[str]) -> Iterator[float]:
    for word in words:
        with suppress(ValueError):
            yield float(word)


def _typed(name: str, kind: Type, dtype: pl.DataType, csv: Csv, epoch: Epoch | None) -> pl.Expr:
    """Return a column in its type, null where it cannot be read."""
    value = pl.col(name)
    opaque = dtype.is_nested() or dtype in (pl.Binary, pl.Object)
    if opaque or (dtype.is_temporal() and kind in {int, float, bool}) or dtype == pl.Duration:
        # Polars would count a time since 1970, in a unit that nobody has stated.
        return pl.lit(None, DTYPES[kind]).alias(name)
    if kind is datetime:
        return _time(value, dtype, csv.time_format, epoch).alias(name)
    if kind is bool:
        if dtype.is_float():  # with a missing value among them, data frames make floats of 0 and 1
            value = pl.when(value.is_in([0.0, 1.0])).then(value).cast(pl.Int64)
        words = value.cast(pl.String, strict=False).str.to_lowercase()
        truth = pl.when(words.is_in(TRUE)).then(True).when(words.is_in(FALSE)).then(False)
        return truth.alias(name)
    if kind in {int, float} and dtype == pl.String:
        value = _plain(value, csv.decimal)
    if kind is int and not dtype.is_integer():  # "12" and 12.0 are whole, 12.5 is not
        number = value.cast(pl.Float64, strict=False)
        text = value.cast(pl.String).str.replace(r"\.0*$", "")
        whole = text.cast(pl.Int64, strict=False) if not dtype.is_float() else None
        exact = (number == number.floor()) & (number.abs() <= EXACT)
        rounded = pl.when(exact).then(number.cast(pl.Int64, strict=False))
        return pl.coalesce(whole, rounded).alias(name)
    read = value.cast(DTYPES[kind], strict=False)
    return (read.fill_nan(None) if kind is float else read).alias(name)


def _plain(value: pl.Expr, decimal: str) -> pl.Expr:
    """Return numbers as text without groups and with a decimal point."""
    other = "," if decimal == "." else "."
    group = f"[{other}{SPACES}]"
    # Of two or three digits, as in 12,34,567; the last of three: 1,5 is no number with a group.
    grouped = rf"^[+-]?\d{{1,3}}(?:{group}\d{{2,3}})*{group}\d{{3}}(?:[{decimal}]\d*)?$"
    joined = pl.when(value.str.contains(grouped)).then(value.str.replace_all(group, ""))
    plain = joined.otherwise(value)
    if decimal == ".":
        return plain
    return pl.when(~plain.str.contains(".", literal=True)).then(
        plain.str.replace(",", ".", literal=True)
    )


def _time(value: pl.Expr, dtype: pl.DataType, time_format: str, epoch: Epoch | None) -> pl.Expr:
    if isinstance(dtype, pl.Datetime):
        aware = value.dt.convert_time_zone("UTC") if dtype.time_zone else value
        return aware.dt.replace_time_zone(None).cast(DTYPES[datetime])
    if dtype == pl.Date:
        return value.cast(DTYPES[datetime])
    unstated = pl.lit(None, DTYPES[datetime])
    numbers = _since_1970(value, epoch) if epoch else unstated
    if dtype == pl.String and time_format:
        return value.map_elements(lambda text: _read_time(text, time_format), DTYPES[datetime])
    if dtype == pl.String:
        number = _is_number(value, epoch)
        text = pl.when(~number).then(value)
        read = text.map_elements(lambda each: _read_time(each, ""), DTYPES[datetime])
        return pl.when(number).then(numbers).otherwise(read)
    return numbers if dtype.is_numeric() else unstated


def _is_number(text: pl.Expr, epoch: Epoch | None) -> pl.Expr:
    """Return whether texts are numbers; without a unit, one of 8 digits is a date: 20260131.

    Of one of more digits the first could be taken for a date.
    """
    number = text.str.contains(NUMBER)
    return number if epoch else number & (text.str.len_chars() != 8)


def _since_1970(value: pl.Expr, epoch: Epoch) -> pl.Expr:
    number = value.cast(pl.Float64, strict=False)
    since = number * MICROSECONDS[epoch]
    known = pl.when(since.is_between(FIRST, LAST)).then(since)
    return known.round().cast(pl.Int64, strict=False).cast(DTYPES[datetime])


@lru_cache(maxsize=10_000)
def _read_time(text: str, time_format: str) -> datetime | None:
    try:
        iso = not time_format
        time = datetime.fromisoformat(text) if iso else datetime.strptime(text, time_format)
        return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    except (ValueError, OverflowError):
        return None


def _unreadable(name: str, kind: Type, before: pl.Series, csv: Csv, epoch: Epoch | None) -> pl.Expr:
    lost = pl.col(name).is_null() & pl.lit(before).is_not_null()
    words = WORDS[kind]
    if kind is datetime and csv.time_format:
        words = f"a time, such as {NOON.strftime(csv.time_format)}"
    elif kind is datetime and not epoch:
        dtype, value = before.dtype, pl.lit(before)
        numeric = _is_number(value, None) if dtype == pl.String else pl.lit(dtype.is_numeric())
        unit = pl.lit(f'{name}: a number; say its unit in the raw table, such as epoch="s"')
        return pl.when(lost & numeric).then(unit).when(lost).then(pl.lit(f"{name}: not {words}"))
    return pl.when(lost).then(pl.lit(f"{name}: not {words}"))


def _absent(name: str, before: pl.Series) -> pl.Expr:
    return pl.when(pl.lit(before).is_null()).then(pl.lit(f"{name}: missing"))
