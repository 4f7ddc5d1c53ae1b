"""Rows out of CSV, JSON, Parquet and tables of databases, some at a time.

Each row of a source is accounted for: it is read, or listed with what is wrong with it.
"""

import codecs
import csv
import io
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
import polars as pl
import sqlalchemy as sa

from . import DataError
from .tables import PLAIN, Csv

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz")
UNREADABLE = (OSError, EOFError, zlib.error, pl.exceptions.PolarsError)
"""What reading a damaged file fails with, besides DataError."""
BLOCK_ROWS = 65_536
BLOCK_BYTES = 8_000_000
MAX_LINES = 1_000
"""Of one record of CSV, whose quoted values may hold line feeds."""
MAX_CHARACTERS = 10_000_000
"""Of one value of CSV: a column that nobody asks for may hold whole documents."""
SQL_TYPES: dict[type, pl.DataType] = {
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    datetime: pl.Datetime("us"),
    date: pl.Date(),
    time: pl.Time(),
    timedelta: pl.Duration("us"),
}
"""What columns of a database become, by the type that SQLAlchemy gives them; others are text."""
_objects = msgspec.json.Decoder(dict[str, Any])


def kind_of(name: str) -> str:
    """Return what a file is by the end of its name, without .gz: "csv", "jsonl" or "parquet"."""
    return name.removesuffix(".gz").rpartition(".")[2]


class Broken(NamedTuple):
    """A row that could not even be split into values."""

    position: int
    reason: str
    content: str


class Block(NamedTuple):
    """Rows that came together; all blocks of a source have the same columns.

    Attributes:
        rows: The columns, shape (rows, columns).
        positions: The number of each row in its source, from 1, shape (rows,).
        broken: What could not be split into values.
        words: Whether all values are text, as in CSV, where a word may say that one is missing.
    """

    rows: pl.DataFrame
    positions: pl.Series
    broken: Sequence[Broken] = ()
    words: bool = False


class Records(NamedTuple):
    """Objects of JSON that came together, with what is none."""

    rows: list[dict[str, Any]]
    positions: list[int]
    broken: Sequence[Broken] = ()


# ---- CSV


def read_csv(
    file: IO[bytes], names: Callable[[Sequence[str]], list[str]], dialect: Csv = PLAIN
) -> Iterator[Block]:
    """Yield the rows of CSV, as text; what holds no value at all is no row.

    A line whose quotes do not match is broken, and reading goes on with the next one: an open quote
    swallows no rows.

    Args:
        file: What is read.
        names: Makes different names of the header.
        dialect: How it is written.

    Raises:
        DataError: it is not in the encoding of the dialect, or has no header that can be read.
    """
    csv.field_size_limit(MAX_CHARACTERS)
    lines = _Lines(_texts(file, dialect.encoding))
    types, start = dict.fromkeys(names(_header(lines, dialect.delimiter)), pl.String()), 1
    yield Block(pl.DataFrame(schema=types), pl.Series(dtype=pl.Int64), words=True)
    while text := lines.take():
        rows = _split_plain(text, types, dialect.delimiter)
        if rows is None:
            lines.give_back(text)
            yield from _split(lines, types, dialect.delimiter, start)
            return
        positions = pl.int_range(start, start + rows.height, eager=True)
        start += rows.height
        filled = ~rows.select(pl.all_horizontal(pl.all().is_null())).to_series()
        yield Block(rows.filter(filled), positions.filter(filled), words=True)


def _texts(file: IO[bytes], encoding: str) -> Iterator[str]:
    """Yield a text in pieces that end where a line does.

    Raises:
        DataError: there is no such encoding, or the text is not in it.
    """
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
        "".encode(encoding)  # some names of codecs are not of encodings of text
    except (LookupError, ValueError):
        raise DataError(
            f"there is no encoding {encoding!r}: correct `encoding` in the raw table."
        ) from None
    rest, size, line = "", 0, 1
    while True:
        part = file.read(BLOCK_BYTES)
        size += len(part)
        try:
            text = rest + decoder.decode(part, final=not part)
        except UnicodeError as error:
            if not isinstance(error, UnicodeDecodeError):
                raise DataError(f"the file is not {encoding}: {error}") from None
            byte = size - len(error.object) + error.start + 1
            line += rest.count("\n") + error.object.count(b"\n", 0, error.start)
            raise DataError(
                f"byte {byte}, in line {line}, is not {encoding}: save the file as UTF-8, or say "
                "in the raw table which `encoding` it has, such as cp1252."
            ) from None
        if line == 1:
            text = text.removeprefix("\ufeff")
        end = text.rfind("\n") + 1 or text.rfind("\r", 0, -1) + 1
        if not part:
            yield text
            return
        yield text[:end]
        rest = text[end:]
        line += text.count("\n", 0, end)


class _Lines:
    """The lines of some texts: one by one, or all that are at hand."""

    def __init__(self, texts: Iterator[str]) -> None:
        """Take the texts, each of which ends where a line does."""
        self._texts, self._text = texts, io.StringIO()
        self._again = deque[str]()
        self.taken: list[str] = []
        """The lines since it was emptied."""
        self._most = MAX_LINES
        """Of one record: where quotes are open to the end, lines are read again and again."""

    def __iter__(self) -> "_Lines":
        """Return itself."""
        return self

    def __next__(self) -> str:
        """Return the next line."""
        line = self._again.popleft() if self._again else self._text.readline()
        if not line:
            self.give_back(next(self._texts))
            return next(self)
        if len(self.taken) >= self._most:
            raise csv.Error(f"a quote is open for more than {self._most} lines")
        self.taken.append(line)
        return line

    def take(self) -> str:
        """Return the lines at hand, or all of the next text; "" when there are no more."""
        text = self._text.read()
        return text or next((each for each in self._texts if each), "")

    def give_back(self, text: str) -> None:
        """Take a text as what comes next."""
        self._text = io.StringIO(text, newline="")

    def go_back(self) -> None:
        """Take the lines since the first that was taken once more; fewer at once each time."""
        self._most = max(10, self._most - self._most // 100)
        self._again.extendleft(reversed(self.taken[1:]))


class _Malformed(NamedTuple):
    reason: str
    line: str


def _records(lines: _Lines, delimiter: str) -> Iterator[list[str] | _Malformed]:
    """Yield the values of each record, or what is wrong with a line that is none."""
    while True:
        reader = csv.reader(
            lines, delimiter=delimiter, skipinitialspace=delimiter != " ", strict=True
        )
        lines.taken.clear()
        try:
            for values in reader:
                yield values
                lines.taken.clear()
            return
        except csv.Error as error:
            yield _Malformed(f"not CSV, as quotes do not match: {error}", lines.taken[0])
            lines.go_back()


def _header(lines: _Lines, delimiter: str) -> list[str]:
    for record in _records(lines, delimiter):
        if isinstance(record, _Malformed):
            raise DataError(f"the header is {record.reason}.")
        if any(record):
            return record
    return []


def _split_plain(text: str, types: dict[str, pl.String], delimiter: str) -> pl.DataFrame | None:
    """Return the rows of a text that Polars splits as `_split` would, and None of another.

    It has no quotes and no spaces to be skipped. Polars refuses a line with a value too many; so
    where there are as many values as there should be, each line has its own.
    """
    count = text.count("\n") + (not text.endswith("\n"))
    plain = (
        len(types) > 1
        and text.count(delimiter) == count * (len(types) - 1)
        and text.count("\r") == text.count("\r\n")
        and not any(each in text for each in ('"', f"{delimiter} ", "\n "))
        and text[0] not in " \ufeff"
    )
    if not plain:
        return None
    try:
        return pl.read_csv(
            text.encode(),
            has_header=False,
            schema=types,
            infer_schema=False,
            separator=delimiter,
            quote_char=None,
        )
    except pl.exceptions.PolarsError:
        return None


def _split(
    lines: _Lines, types: dict[str, pl.String], delimiter: str, start: int
) -> Iterator[Block]:
    """Yield the rows of any CSV, split by Python's own reader, which says which row is broken."""
    numbered = enumerate(_records(lines, delimiter), start)
    while part := list(islice(numbered, BLOCK_ROWS)):
        rows, positions, broken = list[list[str]](), list[int](), list[Broken]()
        for position, record in part:
            if isinstance(record, _Malformed):
                broken.append(Broken(position, *record))
            elif len(record) == len(types) and any(record):
                rows.append(record)
                positions.append(position)
            elif any(record):
                reason = f"{len(record)} values in a table of {len(types)} columns"
                broken.append(Broken(position, reason, json.dumps(record, ensure_ascii=False)))
        columns = zip(*rows, strict=True) if rows else [()] * len(types)
        frame = pl.DataFrame(
            [
                pl.Series(name, [value or None for value in values], pl.String)
                for name, values in zip(types, columns, strict=True)
            ]
        )
        yield Block(frame, pl.Series(positions, dtype=pl.Int64), broken, words=True)


# ---- JSON


def read_json_lines(file: IO[bytes]) -> Iterator[Records]:
    """Yield the objects of JSON lines; only a line feed ends a line."""
    start = 1
    while lines := file.readlines(BLOCK_BYTES):
        if start == 1:
            lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
        positions = range(start, start + len(lines))
        start += len(lines)
        try:
            rows = [_objects.decode(line) for line in lines]  # a line is one object
        except (msgspec.MsgspecError, ValueError, RecursionError):
            rows = []
        if len(rows) == len(lines) and all(rows):
            yield Records(rows, list(positions))
        else:
            yield to_records(zip(positions, lines, strict=True))


def to_records(lines: Iterable[tuple[int, bytes]]) -> Records:
    """Return the objects of numbered lines of JSON; an empty line is none."""
    found = Records([], [], broken := [])
    for position, line in lines:
        try:
            if not line.strip():
                continue
            row = json.loads(line.decode())
            if not isinstance(row, dict):
                raise ValueError("not an object")
            if not row:
                raise ValueError("an object without values")
            if b"\\u" in line:
                json.dumps(row, ensure_ascii=False).encode()  # fails with half a character
        except (ValueError, RecursionError) as error:
            content = line.decode(errors="backslashreplace").rstrip("\r\n")
            broken.append(Broken(position, f"not a row in JSON: {error}", content))
        else:
            found.rows.append(row)
            found.positions.append(position)
    return found


def text(value: Any) -> str | None:
    """Return a value of JSON, or of a database, as text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float | dict | list):
        return json.dumps(value, ensure_ascii=False, default=_text)
    return _text(value)


def _text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes | memoryview) else str(value)


def as_text(records: Records) -> Block:
    """Return objects as a table of text, as one column may hold numbers and words."""
    names = dict.fromkeys(name for row in records.rows for name in row)
    columns = {name: [text(row.get(name)) for row in records.rows] for name in names}
    frame = pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))
    return Block(frame, pl.Series(records.positions, dtype=pl.Int64), records.broken)


# ---- Parquet and databases


def read_parquet(source: Path | bytes) -> Iterator[Block]:
    """Yield the rows of a file, or of its content."""
    lazy = pl.scan_parquet(source, glob=False)
    total = lazy.select(pl.len()).collect().item()
    for start in range(0, max(total, 1), BLOCK_ROWS):
        yield _numbered(lazy.slice(start, BLOCK_ROWS).collect(), start + 1)


def read_table(connection: sa.Connection, table: sa.Table) -> Iterator[Block]:
    """Yield the rows of a table; a column with a value that is not of its type is text."""
    types = {column.name: _type_of(column) for column in table.columns}
    chosen = sa.select(table).order_by(*table.primary_key.columns)
    streamed = connection.execution_options(yield_per=BLOCK_ROWS).execute(chosen)
    start = 1
    for part in streamed.partitions():
        columns = zip(types.items(), zip(*part, strict=True), strict=True)
        rows = pl.DataFrame([_series(name, values, kind) for (name, kind), values in columns])
        yield _numbered(rows, start)
        start += rows.height
    if start == 1:
        yield _numbered(pl.DataFrame(schema=types), start)


def _type_of(column: sa.Column[Any]) -> pl.DataType:
    try:
        return SQL_TYPES.get(column.type.python_type, pl.String())
    except NotImplementedError:
        return pl.String()


def _series(name: str, values: Sequence[Any], kind: pl.DataType) -> pl.Series:
    if kind != pl.String:
        try:
            return pl.Series(name, values, kind)
        except (TypeError, OverflowError, pl.exceptions.PolarsError):
            pass
    return pl.Series(name, [text(value) for value in values], pl.String)


def _numbered(rows: pl.DataFrame, start: int) -> Block:
    return Block(rows, pl.int_range(start, start + rows.height, eager=True))
