"""Rows from a file or a table of a database, some at a time, whatever there are of them."""

import gzip
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import polars as pl

from ..data import DataError
from ..data.database import hide_password
from ..data.formats import (
    SUFFIXES,
    UNREADABLE,
    Block,
    kind_of,
    read_csv,
    read_json_lines,
    read_parquet,
    read_table,
    text,
)
from ..data.parse import EXACT
from ..data.privacy import said
from ..data.sources import open_table
from . import ScoreError


def read(address: str, private: bool) -> Iterator[Block]:
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
            yield from read_parquet(path)
        elif kind_of(path.name) == "csv":
            with _open(path) as file:
                yield from read_csv(file, _header)
        else:
            yield from _json_lines(path)
    except DataError as error:
        raise ScoreError(f"{path}: {error}") from None
    except UNREADABLE as error:
        raise ScoreError(f"{path}: cannot be read: {said(error, private)}") from error


def _table(address: str, private: bool) -> Iterator[Block]:
    if address.startswith(("http://", "https://")):
        raise ScoreError(f"{hide_password(address)}: give a file, or a table of a database.")
    types = None
    with open_table(address, private) as (connection, table):
        for block in read_table(connection, table):
            types = types or block.rows.schema
            if odd := [name for name, kind in block.rows.schema.items() if kind != types[name]]:
                raise ScoreError(
                    f"{hide_password(address)}: {', '.join(odd)}: a value is not of its type."
                )
            yield block


def _header(names: Sequence[str]) -> list[str]:
    """Return the names as they are, since all columns are given back.

    Raises:
        DataError: one is there twice.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"the name of a column is there twice: {', '.join(twice)}.")
    return list(names)


def _json_lines(path: Path) -> Iterator[Block]:
    """Yield the rows of JSON lines; a column is of the type that all of its values have."""
    kinds = defaultdict[str, _Kinds](_Kinds)
    with _open(path) as file:
        for rows, _, _ in read_json_lines(file):
            for name in dict.fromkeys(name for row in rows for name in row):
                kinds[name] = kinds[name].and_of([row.get(name) for row in rows])
    types = {name: each.dtype for name, each in kinds.items()}
    with _open(path) as file:
        for rows, positions, broken in read_json_lines(file):
            columns = [
                pl.Series(name, _values([row.get(name) for row in rows], dtype), dtype)
                for name, dtype in types.items()
            ]
            yield Block(pl.DataFrame(columns), pl.Series(positions, dtype=pl.Int64), broken)


class _Kinds(NamedTuple):
    """The types of some values, and the range of the whole numbers among them."""

    types: frozenset[type] = frozenset()
    low: int = 0
    high: int = 0

    def and_of(self, values: Sequence[Any]) -> "_Kinds":
        """Return what holds for more values, too."""
        whole = [value for value in values if type(value) is int]
        return _Kinds(
            self.types.union(map(type, values)) - {type(None)},
            min(self.low, min(whole, default=0)),
            max(self.high, max(whole, default=0)),
        )

    @property
    def dtype(self) -> pl.DataType:
        """The type of a column that holds them."""
        if self.types == {int} and self.low >= -(2**63):
            if self.high < 2**63:
                return pl.Int64()
            if self.low >= 0 and self.high < 2**64:
                return pl.UInt64()
        exact = self.low >= -EXACT and self.high <= EXACT
        if float in self.types and self.types <= {int, float} and exact:
            return pl.Float64()
        return pl.Boolean() if self.types == {bool} else pl.String()


def _values(values: list[Any], dtype: pl.DataType) -> list[Any]:
    return [text(value) for value in values] if dtype == pl.String else values


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
