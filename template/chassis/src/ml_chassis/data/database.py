"""A database by its URL, SQLite or PostgreSQL."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ..settings import DATABASES
from . import DataError
from .privacy import said

Insert = Callable[[sa.Table], sqlite.Insert | postgresql.Insert]
LOCKED_SECONDS = 30
PASSWORDS = ("password", "sslpassword")
"""What PostgreSQL also takes behind the `?` of an address."""
CREDENTIALS = r":.*@|//.*@|\?.*="
"""What nobody writes in the name of a file."""
INSERTS: dict[str, Insert] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
"""Inserts that may meet a key that is there already, by the name of the dialect."""


def open_database(
    url: str,
    tables: sa.MetaData,
    private: bool,
    seconds: int | None = None,
    writes: bool = True,
) -> sa.Engine:
    """Open a database, and make the tables and columns that it does not have.

    Tables of an earlier version keep their rows, and get the columns that came later. These may be
    null or have a default of the server, so that versions that run side by side can write.

    Args:
        url: Its address.
        tables: What is to be in it.
        private: Whether the rows hold personal values.
        seconds: For which a server or another writer is waited for; without, see `engine_of`.
        writes: Where it waits so long: whether its transactions in a file begin as writers.

    Raises:
        DataError: it cannot be opened.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # it may hold a password anywhere
        raise DataError(f"The address of the database cannot be read: use {DATABASES}.") from None
    try:
        if parsed.get_backend_name() not in INSERTS:
            raise DataError(f"{hide_password(url)}: use {DATABASES}.")
        if parsed.database and parsed.get_backend_name() == "sqlite":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = engine_of(parsed) if seconds is None else _impatient(parsed, seconds, writes)
        _create(engine, tables)
        _add_columns(engine, tables)
    # Drivers refuse what stands behind the `?` with the last two.
    except (sa.exc.SQLAlchemyError, ImportError, OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{hide_password(url)}: cannot be opened: {why_failed(error, url, private)}"
        ) from error
    return engine


def _create(engine: sa.Engine, tables: sa.MetaData) -> None:
    """Make the tables that are not there; another process that does so may be quicker with one."""
    while True:
        there = _tables(engine, tables)
        try:
            return tables.create_all(engine)
        except sa.exc.SQLAlchemyError:
            if _tables(engine, tables) == there:
                raise


def _tables(engine: sa.Engine, tables: sa.MetaData) -> set[str]:
    return tables.tables.keys() & {*sa.inspect(engine).get_table_names()}


def _add_columns(engine: sa.Engine, tables: sa.MetaData) -> None:
    for table, column in _missing(engine, tables):
        written = sa.schema.CreateColumn(column).compile(dialect=engine.dialect)
        try:
            with engine.begin() as connection:
                name = engine.dialect.identifier_preparer.format_table(table)
                connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN {written}")
        except sa.exc.SQLAlchemyError:  # another process may have been quicker
            if (table, column) in _missing(engine, tables):
                raise


def _missing(engine: sa.Engine, tables: sa.MetaData) -> list[tuple[sa.Table, sa.Column[Any]]]:
    there = sa.inspect(engine)
    names = {name: {each["name"] for each in there.get_columns(name)} for name in tables.tables}
    return [
        (table, column)
        for table in tables.sorted_tables
        for column in table.columns
        if column.name not in names[table.name]
    ]


def engine_of(url: sa.URL, **options: Any) -> sa.Engine:
    """Return an engine whose errors show no values, and that a pooler may stand before.

    A file that another process writes to is waited for, LOCKED_SECONDS unless the URL says
    `?timeout=`.
    """
    if url.get_backend_name() == "sqlite" and "timeout" not in url.query:
        options["connect_args"] = {"timeout": LOCKED_SECONDS}
    if url.drivername == "postgresql+psycopg":
        # A statement that is prepared by name is known to one connection alone.
        options["connect_args"] = {"prepare_threshold": None}
    # The standard library's takes a multiple of the time of the rest of a row.
    return sa.create_engine(url, hide_parameters=True, json_serializer=_to_json, **options)


def _to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _impatient(url: sa.URL, seconds: int, writes: bool) -> sa.Engine:
    """Return an engine that waits so long and no longer, for services."""
    if url.get_backend_name() == "sqlite":
        if "timeout" not in url.query:
            url = url.update_query_dict({"timeout": str(seconds)})
        engine = engine_of(url)
        if writes:
            _begin_as_writer(engine)
        return engine
    milliseconds = str(1_000 * seconds)
    url = url.update_query_dict({"connect_timeout": str(seconds), "tcp_user_timeout": milliseconds})
    engine = engine_of(url)
    # Of the transaction alone, as a pooler gives the connection to others.
    _begin_with(engine, f"SET LOCAL statement_timeout = {milliseconds}")
    return engine


def _begin_as_writer(engine: sa.Engine) -> None:
    """In a file, a transaction that begins with reading is refused where another has written."""

    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")  # readers do not wait for writers

    sa.event.listen(engine, "connect", connected)
    _begin_with(engine, "BEGIN IMMEDIATE")


def _begin_with(engine: sa.Engine, statement: str) -> None:
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(statement))


def why_failed(error: Exception, url: str | sa.URL, private: bool) -> str:
    """Return why something failed in a database, and who holds its file, where one does."""
    reason = said(error, private)
    holders = _holders(url) if "database is locked" in str(error) else []
    return f"{reason} by {', '.join(holders)}" if holders else reason


def _holders(url: str | sa.URL) -> list[str]:
    """Return the processes of this machine that hold a file, as Linux knows them."""
    try:
        locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
        inode = str(Path(sa.make_url(url).database or "").stat().st_ino)
    except OSError:
        return []
    held = (line.split() for line in locks)
    found = {words[4] for words in held if words[5].rpartition(":")[2] == inode}
    return [_process(pid) for pid in sorted(found - {str(os.getpid())})]


def _process(pid: str) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (OSError, UnicodeError):
        return f"process {pid}"
    return f"process {pid} ({command[:60]})"


def hide_password(address: str) -> str:
    """Return an address as it may be shown; of one that cannot be read, nothing that may be secret.

    That of a file is shown as it is.
    """
    try:
        shown = sa.make_url(address)
    except (sa.exc.ArgumentError, ValueError):
        return "an address that cannot be read" if re.search(CREDENTIALS, address) else address
    return shown.difference_update_query(PASSWORDS).render_as_string(hide_password=True)
