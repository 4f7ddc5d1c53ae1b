"""One process at a time, on all hosts that share a database."""

import fcntl
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import sqlalchemy as sa

from ..errors import UserError

LEASE_SECONDS = 60.0
"""How long a lock in PostgreSQL is kept for a process of which nothing is heard."""
LOCKS = sa.Table(
    "locks",
    sa.MetaData(),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("holder", sa.Text, nullable=False, comment="for people"),
    sa.Column("until", sa.DateTime(timezone=True), nullable=False),
)
TAKE = sa.text(
    "INSERT INTO locks (name, owner, holder, until) "
    "VALUES (:name, :owner, :holder, now() + make_interval(secs => :seconds)) "
    "ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, holder = excluded.holder, "
    "until = excluded.until WHERE locks.until < now()"
)
RENEW = sa.text(
    "UPDATE locks SET until = now() + make_interval(secs => :seconds) "
    "WHERE name = :name AND owner = :owner"
)


class BusyError(UserError):
    """Another process does the same."""


def only_one(engine: sa.Engine, name: str) -> AbstractContextManager[None]:
    """Keep others out who ask for the same name.

    In SQLite, a process that dies lets go at once; in PostgreSQL, after LEASE_SECONDS.

    Raises:
        BusyError: another process is in; the message says which. Or this one was held up for so
            long that another got in.
    """
    if engine.dialect.name == "sqlite":
        return in_file(Path(f"{engine.url.database}.{name}.lock"), name)
    return _in_postgresql(engine, name)


@contextmanager
def in_file(path: Path, name: str) -> Iterator[None]:
    """Keep others of this machine out by a file; the system lets go of it when the process ends.

    Raises:
        BusyError: another process is in; the message says which.
    """
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BusyError(f"Another {name} runs: {file.read() or 'it has just begun'}.") from None
        file.truncate(0)
        file.write(_me())
        file.flush()
        yield


@contextmanager
def _in_postgresql(engine: sa.Engine, name: str) -> Iterator[None]:
    """Keep a row with an owner and an expiry, which is renewed.

    Behind a pooler such as PgBouncer, an advisory lock would be that of a connection which others
    use as well.
    """
    lock = {"name": name, "owner": uuid.uuid4().hex, "seconds": LEASE_SECONDS}
    mine = sa.and_(LOCKS.c.name == name, LOCKS.c.owner == lock["owner"])
    with engine.begin() as connection:
        LOCKS.create(connection, checkfirst=True)
    with engine.begin() as connection:
        if connection.execute(TAKE, {**lock, "holder": _me()}).rowcount != 1:
            chosen = sa.select(LOCKS.c.holder, LOCKS.c.until).where(LOCKS.c.name == name)
            holder, until = connection.execute(chosen).one()
            until = f"{until.astimezone(UTC):%H:%M:%S} UTC"
            raise BusyError(f"Another {name} runs: {holder}. If it has died, wait until {until}.")
    ended = Event()
    renewal = Thread(target=_renew, args=(engine, lock, ended), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        ended.set()
        renewal.join()
        with engine.begin() as connection:
            kept = connection.execute(sa.delete(LOCKS).where(mine)).rowcount == 1
    if not kept:
        raise BusyError(
            f"This {name} was held up for more than {LEASE_SECONDS:.0f} s, and another one began "
            "meanwhile: look at what the two did, in `make models` and `make runs`."
        )


def _renew(engine: sa.Engine, lock: dict[str, object], ended: Event) -> None:
    while not ended.wait(LEASE_SECONDS / 4):
        with suppress(sa.exc.SQLAlchemyError), engine.begin() as connection:  # tried again
            connection.execute(RENEW, lock)


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now(UTC):%H:%M} UTC"
