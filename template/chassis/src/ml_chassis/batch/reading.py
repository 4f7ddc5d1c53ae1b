"""Rows from a file or a table of a database, some at a time, whatever there are of them."""

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import msgspec
import polars as pl
import sqlalchemy as sa

from ..data.database import hide_password
from ..data.parse import DTYPES
from ..data.privacy import said
from ..data.sources import SUFFIXES, Broken, open_table, text, to_records
from . import ScoreError

CHUNK_ROWS = 65_536
BLOCK_BYTES = 8_000_000
FAILED = (csv.Error, pl.exceptions.PolarsError)
_rows = msgspec.json.Decoder(dict[str, Any])


class Chunk(NamedTuple):
    """Rows as they came; all chunks of one source have the same columns.

    Attributes:
        rows: The columns.
        positions: The number of each row in its source, from 1.
        broken: What could not be split into values.
        words: Whether all values are text, so that `n/a` may stand for a missing one.
    """

    rows: pl.DataFrame
    positions: pl.Series
    broken: Sequence[Broken] = ()
    words: bool = False


def read(address: str, private: bool) -> Iterator[Chunk]:
    """Yield the rows of a file, by the end of its name, or of a database's table.

    Raises:
        ScoreError: it cannot be read.
        DataError: the database cannot.
    """
    if "://" in address:
        yield from _table(address, private)
        return
    path = Path(address)
    if not path.is_file():
        raise ScoreError(f"{path}: there is no such file.")
    if not path.name.endswith(SUFFIXES):
        raise ScoreError(f"{path}: give a file that ends in {', '.join(SUFFIXES)}.")
    try:
        if path.suffix == ".parquet":
            yield from _parquet(path)
        elif ".csv" in path.suffixes[-2:]:
            yield from _csv(path)
        else:
            yield from _json_lines(path)
    except (OSError, EOFError, UnicodeError, OverflowError, *FAILED) as error:
        raise ScoreError(f"{path}: cannot be read: {said(error, private)}") from error


def _table(address: str, private: bool) -> Iterator[Chunk]:
    if address.startswith(("http://", "https://")):
        raise ScoreError(f"{hide_password(address)}: give a file, or a table of a database.")
    with open_table(address, private) as (connection, table):
        types = {column.name: _dtype(column) for column in table.columns}
        chosen = sa.select(table).order_by(*table.primary_key.columns)
        streamed = connection.execution_options(yield_per=CHUNK_ROWS).execute(chosen)
        start = 1
        for part in streamed.partitions():
            try:
                rows = pl.DataFrame([tuple(row) for row in part], types, orient="row")
            except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
                shown = hide_password(address)
                raise ScoreError(
                    f"{shown}: a value is not of its type: {said(error, private)}"
                ) from error
            yield _numbered(rows, start)
            start += rows.height


def _dtype(column: sa.Column[Any]) -> Any:
    try:
        kind = column.type.python_type
    except NotImplementedError:
        return pl.String
    return DTYPES.get(kind, pl.Float64 if kind is Decimal else kind)


def _parquet(path: Path) -> Iterator[Chunk]:
    lazy = pl.scan_parquet(path, glob=False)
    total = lazy.select(pl.len()).collect().item()
    for start in range(0, total, CHUNK_ROWS):
        yield _numbered(lazy.slice(start, CHUNK_ROWS).collect(), start + 1)


def _csv(path: Path) -> Iterator[Chunk]:
    with _open(path) as file:
        head = next(csv.reader(_decoded([file.readline()])), [])
        if len(set(head)) < len(head):
            raise ScoreError(f"{path}: a name of a column is there twice.")
        types, start = dict.fromkeys(head, pl.String()), 1
        while lines := file.readlines(BLOCK_BYTES):
            block = b"".join(lines)
            if not _is_plain(block, lines, len(head)):
                yield from _split(chain(lines, file), types, start)
                return
            rows = pl.read_csv(
                block, has_header=False, schema=types, infer_schema=False, quote_char=None
            )
            yield _numbered(rows, start)._replace(words=True)
            start += rows.height


def _is_plain(block: bytes, lines: Sequence[bytes], width: int) -> bool:
    """Return whether Polars may split lines: they have no quotes and not a value too few in all.

    It refuses a line with a value too many, so then each has as many as it should.
    """
    return b'"' not in block and block.count(b",") == len(lines) * (width - 1) and width > 1


def _split(lines: Iterable[bytes], types: dict[str, pl.String], start: int) -> Iterator[Chunk]:
    """Yield the rows of any CSV, split by Python's own reader, which says which row is broken."""
    numbered = enumerate(csv.reader(_decoded(lines)), start)
    while part := list(islice(numbered, CHUNK_ROWS)):
        good = [(at, row) for at, row in part if len(row) == len(types)]
        reason = f"not {len(types)} values, as the head of the table has"
        broken = [Broken(at, reason, "") for at, row in part if row and len(row) != len(types)]
        columns = zip(*(row for _, row in good), strict=True) if good else [()] * len(types)
        rows = pl.DataFrame(
            {
                name: pl.Series(name, [value or None for value in values], pl.String)
                for name, values in zip(types, columns, strict=True)
            }
        )
        yield Chunk(rows, pl.Series([at for at, _ in good], dtype=pl.Int64), broken, words=True)


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield line.decode("utf-8-sig" if number == 0 else "utf-8")


def _json_lines(path: Path) -> Iterator[Chunk]:
    """Yield the rows of JSON lines; a column is of the type that all of its values have."""
    kinds = defaultdict[str, set[type]](set)
    for rows, _, _ in _blocks(path):
        for name in dict.fromkeys(name for row in rows for name in row):
            kinds[name].update(type(row.get(name)) for row in rows)
    types = {name: _common(found - {type(None)}) for name, found in kinds.items()}
    for rows, positions, broken in _blocks(path):
        columns = {
            name: pl.Series(name, _values([row.get(name) for row in rows], dtype), dtype)
            for name, dtype in types.items()
        }
        yield Chunk(pl.DataFrame(columns), pl.Series(positions, dtype=pl.Int64), broken)


def _blocks(path: Path) -> Iterator[tuple[list[dict[str, Any]], list[int], list[Broken]]]:
    """Yield rows, their positions, and what is no row."""
    with _open(path) as file:
        start = 1
        while lines := file.readlines(BLOCK_BYTES):
            positions = range(start, start + len(lines))
            start += len(lines)
            try:
                rows = _rows.decode_lines(b"".join(lines))
            except (msgspec.MsgspecError, ValueError, RecursionError):
                rows = []
            if len(rows) == len(lines):
                yield rows, list(positions), []
            else:
                numbered = zip(positions, _decoded(lines), strict=True)
                yield to_records((at, line) for at, line in numbered if line.strip())


def _common(kinds: set[type]) -> pl.DataType:
    """Return the type of a column that holds values of some types."""
    if kinds == {int}:
        return pl.Int64()
    if kinds and kinds <= {int, float}:
        return pl.Float64()
    return pl.Boolean() if kinds == {bool} else pl.String()


def _values(values: list[Any], dtype: pl.DataType) -> list[Any]:
    return [text(value) for value in values] if dtype == pl.String else values


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _numbered(rows: pl.DataFrame, start: int) -> Chunk:
    return Chunk(rows, pl.int_range(start, start + rows.height, eager=True))
