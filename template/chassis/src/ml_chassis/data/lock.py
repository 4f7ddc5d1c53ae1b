"""One process at a time, on all hosts that share a database. A process that dies holds nothing."""

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

import sqlalchemy as sa

from ..errors import UserError

OURS = crc32(b"model_service") & 0x7FFFFFFF
"""The first half of the key of a lock in PostgreSQL, which others may use as well."""


class BusyError(UserError):
    """Another process does the same."""


def only_one(engine: sa.Engine, name: str) -> AbstractContextManager[None]:
    """Keep others out who ask for the same name.

    Raises:
        BusyError: another process is in; the message says which.
    """
    locks: dict[str, Callable[[sa.Engine, str], AbstractContextManager[None]]] = {
        "sqlite": _in_file,
        "postgresql": _in_postgresql,
    }
    return locks[engine.dialect.name](engine, name)


@contextmanager
def _in_file(engine: sa.Engine, name: str) -> Iterator[None]:
    """Lock a file beside the database; the system lets go of it when the process ends."""
    database = engine.url.database
    if not database or database == ":memory:":
        yield
        return
    with Path(f"{database}.{name}.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BusyError(_busy(name, file.read())) from None
        file.truncate(0)
        file.write(_me())
        file.flush()
        yield


@contextmanager
def _in_postgresql(engine: sa.Engine, name: str) -> Iterator[None]:
    """Take an advisory lock; the server lets go of it when the connection ends."""
    lock = {"ours": OURS, "which": crc32(name.encode()) & 0x7FFFFFFF}
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(
            sa.text("SELECT set_config('application_name', :me, false)"), {"me": _me()[:63]}
        )
        if not connection.scalar(sa.text("SELECT pg_try_advisory_lock(:ours, :which)"), lock):
            holder = connection.scalar(
                sa.text(
                    "SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid) "
                    "WHERE locktype = 'advisory' AND granted "
                    "AND classid = :ours AND objid = :which"
                ),
                lock,
            )
            raise BusyError(_busy(name, holder or ""))
        try:
            yield
        finally:
            connection.execute(sa.text("SELECT pg_advisory_unlock(:ours, :which)"), lock)


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now(UTC):%H:%M} UTC"


def _busy(name: str, holder: str) -> str:
    return f"Another {name} runs: {holder or 'it has just begun'}."
