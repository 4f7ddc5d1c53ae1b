"""Raw rows from files, databases and HTTP: the address says which."""

import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import sqlalchemy as sa

from . import DataError
from .database import engine_of, hide_password, why_failed
from .formats import (
    SUFFIXES,
    UNREADABLE,
    Block,
    Broken,
    as_text,
    kind_of,
    read_csv,
    read_json_lines,
    read_parquet,
    read_table,
    to_records,
)
from .privacy import said
from .tables import ORIGIN, PLAIN, POSITION, Csv

FAILED = (
    *(sa.exc.SQLAlchemyError, ImportError, TypeError, ValueError, OverflowError),
    pl.exceptions.PolarsError,
)


@dataclass(frozen=True)
class Chunk:
    """Rows that came together, as they came.

    Attributes:
        origin: Where from, without passwords: a file, a table, a page.
        fingerprint: The same as long as the rows are.
        rows: Text where the source knows no types; `row_position` counts from 1.
        broken: What could not be split into values.
        sparse: Whether a row may leave out what it does not have, as in JSON.
    """

    origin: str
    fingerprint: str
    rows: pl.DataFrame
    broken: Sequence[Broken] = ()
    sparse: bool = False


def read(
    address: str, seen: Mapping[str, str], dialect: Csv = PLAIN, private: bool = False
) -> Iterator[Chunk]:
    """Yield what an address has that was not seen before.

    Args:
        address: A file, folder or pattern of Parquet, CSV or JSON lines, the text ones perhaps with
            .gz; a database and a table, such as `sqlite:///shop.db?table=orders` or
            `postgresql+psycopg://user:password@host/name?table=orders`; or the address of JSON,
            `https://...`, whose answer may point to a next page in a `Link` header.
        seen: The fingerprint of each origin that was read before.
        dialect: How CSV is written.
        private: Whether the rows hold personal values.

    Raises:
        DataError: it cannot be read.
    """
    scheme = address.partition("://")[0] if "://" in address else ""
    if scheme in {"http", "https"}:
        return _pages(address, seen)
    if scheme:
        return _table(address, seen, private)
    return _files(address, seen, dialect, private)


def is_csv(origin: str) -> bool:
    """Return whether rows came from a file of CSV."""
    return "://" not in origin and origin.endswith((".csv", ".csv.gz"))


def header(names: Iterable[str]) -> list[str]:
    """Return the names of columns, stripped and all different, also for SQL.

    One without a name is `column_3`, after its position; a second `a`, or an `A`, is `a_2`.
    """
    found: dict[str, str] = {ORIGIN: "", POSITION: ""}
    for position, given in enumerate(names, start=1):
        base = name = given.strip() or f"column_{position}"
        number = 1
        while name.casefold() in found:
            number += 1
            name = f"{base}_{number}"
        found[name.casefold()] = name
    return list(found.values())[2:]


def _files(address: str, seen: Mapping[str, str], dialect: Csv, private: bool) -> Iterator[Chunk]:
    found = _find(Path(address))
    if not found:
        raise DataError(f"{address}: there is no file that ends in {', '.join(SUFFIXES)}.")
    for each in found:
        try:
            content = each.read_bytes()
            fingerprint = hashlib.sha256(content).hexdigest()
            origin = each.as_posix()
            if seen.get(origin) != fingerprint:
                blocks = _open(each.name, content, dialect)
                yield _chunk(origin, fingerprint, blocks, sparse=kind_of(each.name) == "jsonl")
        except DataError as error:
            raise DataError(f"{each}: {error}") from None
        except UNREADABLE as error:
            raise DataError(f"{each}: cannot be read: {said(error, private)}") from error


def _find(path: Path) -> list[Path]:
    """Return a file, or those of a folder or a pattern; what is hidden is no source."""
    if path.is_file():
        return [path] if path.name.endswith(SUFFIXES) else []
    folder, pattern = (path, "*") if path.is_dir() else (path.parent, path.name)
    return sorted(
        each
        for each in folder.glob(pattern)
        if each.name.endswith(SUFFIXES) and not each.name.startswith(".") and each.is_file()
    )


def _open(name: str, content: bytes, dialect: Csv) -> Iterator[Block]:
    if name.endswith(".gz"):
        return _open(name.removesuffix(".gz"), gzip.decompress(content), dialect)
    if name.endswith(".parquet"):
        return read_parquet(content)
    if name.endswith(".csv"):
        return read_csv(io.BytesIO(content), header, dialect)
    return map(as_text, read_json_lines(io.BytesIO(content)))


def _chunk(origin: str, fingerprint: str, blocks: Iterable[Block], sparse: bool = False) -> Chunk:
    """Return all rows of an origin; a column that is text in one block is text in all."""
    rows = list[pl.DataFrame]()
    broken = list[Broken]()
    for block in blocks:
        numbers = block.positions.cast(pl.Int64).alias(POSITION)
        rows.append(block.rows.drop(POSITION, strict=False).with_columns(numbers))
        broken += block.broken
    none = pl.DataFrame(schema={POSITION: pl.Int64})
    frame = pl.concat(rows or [none], how="diagonal_relaxed")
    return Chunk(origin, fingerprint, frame, broken, sparse)


def _table(address: str, seen: Mapping[str, str], private: bool) -> Iterator[Chunk]:
    shown = hide_password(address)
    with open_table(address, private) as (connection, table):
        found = _chunk(shown, "", read_table(connection, table))
    # Without an order, so that a table in another order is the same.
    lines = sorted(found.rows.drop(POSITION).write_csv().splitlines())
    fingerprint = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    if seen.get(shown) != fingerprint:
        yield replace(found, fingerprint=fingerprint)


@contextmanager
def open_table(address: str, private: bool) -> Iterator[tuple[sa.Connection, sa.Table]]:
    """Yield a connection to a database and the table in it that an address names.

    Raises:
        DataError: there is none, or what is done with it fails.
    """
    shown = hide_password(address)
    try:
        url = sa.make_url(address)
        name = str(url.query["table"])
        database = url.difference_update_query(["table"])
        _require_file(database)
        engine = engine_of(database, poolclass=sa.NullPool)
        with engine.connect() as connection:
            yield connection, sa.Table(name, sa.MetaData(), autoload_with=connection)
    except KeyError:
        raise DataError(f"{shown}: say which table, with ?table=NAME.") from None
    except sa.exc.NoSuchTableError as error:
        raise DataError(f"{shown}: there is no table {error}.") from None
    except FAILED as error:
        reason = why_failed(error, address, private)
        raise DataError(f"{shown}: cannot be read: {reason}") from error


def _require_file(database: sa.URL) -> None:
    """Make sure that SQLite does not make a file where none is.

    Raises:
        ValueError: there is none.
    """
    name = database.database or ""
    as_uri = name.startswith("file:")  # it says itself what is made
    if database.get_backend_name() == "sqlite" and not as_uri and not Path(name).is_file():
        raise ValueError(f"there is no file {name or 'named'}.")


def _pages(address: str, seen: Mapping[str, str]) -> Iterator[Chunk]:
    from .pages import fetch  # its library takes long to import, and few projects have such a table

    for page, body in fetch(address):
        fingerprint = hashlib.sha256(body).hexdigest()
        if seen.get(page) != fingerprint:
            yield _chunk(page, fingerprint, _json(body, page), sparse=True)


def _json(body: bytes, shown: str) -> Iterator[Block]:
    """Yield the rows of a list of objects, or of JSON lines.

    Raises:
        DataError: it is neither.
    """
    if not body.decode("utf-8-sig", "replace").lstrip().startswith("["):
        yield from map(as_text, read_json_lines(io.BytesIO(body)))
        return
    try:
        rows = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown}: the answer is not JSON: {error}") from None
    yield as_text(to_records((at, json.dumps(row).encode()) for at, row in enumerate(rows, 1)))
