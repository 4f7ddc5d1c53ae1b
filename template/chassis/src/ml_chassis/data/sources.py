"""Raw rows from files, databases and HTTP: the address says which."""

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import sqlalchemy as sa

from . import DataError
from .database import hide_password
from .privacy import said
from .tables import ORIGIN, PLAIN, POSITION, Csv

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz")


class Broken(NamedTuple):
    """A row that could not even be split into values."""

    position: int
    reason: str
    content: str


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
        address: A file, folder or pattern of Parquet, CSV or JSON lines, each perhaps with .gz; a
            database and a table, such as `sqlite:///shop.db?table=orders` or
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
    path = Path(address)
    pattern = "*" if path.is_dir() else path.name
    folder = path if path.is_dir() else path.parent
    found = sorted(each for each in folder.glob(pattern) if each.name.endswith(SUFFIXES))
    if not found:
        raise DataError(f"{address}: there is no file that ends in {', '.join(SUFFIXES)}.")
    for each in found:
        try:
            content = each.read_bytes()
            fingerprint = hashlib.sha256(content).hexdigest()
            origin = each.as_posix()
            if seen.get(origin) != fingerprint:
                sparse = ".jsonl" in each.suffixes
                yield Chunk(origin, fingerprint, *_open(each.name, content, dialect), sparse)
        except DataError as error:
            raise DataError(f"{each}: {error}") from None
        except (OSError, EOFError, UnicodeError, csv.Error, pl.exceptions.PolarsError) as error:
            raise DataError(f"{each}: cannot be read: {said(error, private)}") from error


def _open(name: str, content: bytes, dialect: Csv) -> tuple[pl.DataFrame, list[Broken]]:
    if name.endswith(".gz"):
        return _open(name.removesuffix(".gz"), gzip.decompress(content), dialect)
    if name.endswith(".parquet"):
        return _numbered(pl.read_parquet(content)), []
    if name.endswith(".csv"):
        return split_csv(_decoded(content, dialect.encoding), dialect.delimiter)
    return _json_lines(content.decode("utf-8-sig"))


def _decoded(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except LookupError:
        raise DataError(
            f"there is no encoding {encoding!r}: correct `encoding` in the raw table."
        ) from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"byte {error.start + 1}, in line {line}, is not {encoding}: "
            "say in the raw table which `encoding` the file has, such as cp1252."
        ) from None


def split_csv(text: str, delimiter: str) -> tuple[pl.DataFrame, list[Broken]]:
    """Return the rows of a file; what holds no value at all is no row."""
    file = io.StringIO(text, newline="")
    lines = csv.reader(file, delimiter=delimiter, skipinitialspace=delimiter != " ")
    head = header(next((names for names in lines if _filled(names)), []))
    rows: list[list[str]] = []
    positions, broken = list[int](), list[Broken]()
    for position, values in enumerate(lines, start=1):
        if not _filled(values):
            continue
        if len(values) == len(head):
            rows.append(values)
            positions.append(position)
        else:
            reason = f"{len(values)} values in a table of {len(head)} columns"
            broken.append(Broken(position, reason, json.dumps(values, ensure_ascii=False)))
    table = pl.DataFrame(rows, schema=dict.fromkeys(head, pl.String), orient="row")
    return table.with_columns(pl.Series(POSITION, positions, pl.Int64)), broken


def _filled(values: Sequence[str]) -> bool:
    return any(value.strip() for value in values)


def _json_lines(text: str) -> tuple[pl.DataFrame, list[Broken]]:
    lines = ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())
    return to_rows(lines)


def to_rows(lines: Iterable[tuple[int, str]]) -> tuple[pl.DataFrame, list[Broken]]:
    """Return rows, each the text of a JSON object, as text, and what is none."""
    rows, positions, broken = to_records(lines)
    names = dict.fromkeys(name for row in rows for name in row if name != POSITION)
    # As text: one column may hold numbers and words.
    columns = {name: [text(row.get(name)) for row in rows] for name in names}
    frame = pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))
    return frame.with_columns(pl.Series(POSITION, positions, pl.Int64)), broken


def to_records(
    lines: Iterable[tuple[int, str]],
) -> tuple[list[dict[str, Any]], list[int], list[Broken]]:
    """Return JSON objects, their positions, and what is no object."""
    rows, positions, broken = list[dict[str, Any]](), list[int](), list[Broken]()
    for position, line in lines:
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
        except ValueError as error:
            broken.append(Broken(position, f"not a row in JSON: {error}", line))
        else:
            rows.append(row)
            positions.append(position)
    return rows, positions, broken


def text(value: Any) -> str | None:
    """Return a value of JSON as text."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _numbered(frame: pl.DataFrame) -> pl.DataFrame:
    frame = frame.drop(POSITION, strict=False)
    return frame.with_row_index(POSITION, offset=1).with_columns(pl.col(POSITION).cast(pl.Int64))


def _table(address: str, seen: Mapping[str, str], private: bool) -> Iterator[Chunk]:
    shown = hide_password(address)
    with open_table(address, private) as (connection, table):
        found = pl.read_database(sa.select(table), connection, infer_schema_length=None)
    # Without an order, so that a table in another order is the same.
    fingerprint = hashlib.sha256(
        b"".join(sorted(line.encode() for line in found.write_csv().splitlines()))
    ).hexdigest()
    if seen.get(shown) != fingerprint:
        yield Chunk(shown, fingerprint, _numbered(found))


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
        engine = sa.create_engine(database, poolclass=sa.NullPool, hide_parameters=True)
        with engine.connect() as connection:
            yield connection, sa.Table(name, sa.MetaData(), autoload_with=connection)
    except KeyError:
        raise DataError(f"{shown}: say which table, with ?table=NAME.") from None
    except sa.exc.NoSuchTableError as error:
        raise DataError(f"{shown}: there is no table {error}.") from None
    except (sa.exc.SQLAlchemyError, ImportError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{shown}: cannot be read: {said(error, private)}") from error


def _pages(address: str, seen: Mapping[str, str]) -> Iterator[Chunk]:
    from .pages import fetch  # its library takes long to import, and few projects have such a table

    for page, body in fetch(address):
        fingerprint = hashlib.sha256(body).hexdigest()
        if seen.get(page) != fingerprint:
            yield Chunk(page, fingerprint, *_json(body, page), sparse=True)


def _json(body: bytes, shown: str) -> tuple[pl.DataFrame, list[Broken]]:
    """Return the rows of a list of objects, or of JSON lines."""
    try:
        text = body.decode()
    except UnicodeError as error:
        raise DataError(f"{shown}: cannot be read: {error}") from None
    if not text.lstrip().startswith("["):
        return _json_lines(text)
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise DataError(f"{shown}: the answer is not JSON: {error}") from None
    return to_rows((number, json.dumps(row)) for number, row in enumerate(rows, 1))
