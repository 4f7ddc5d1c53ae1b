"""Two do not do the same at once, and who has died is in nobody's way."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from chassis.flights import PROJECT
from ml_chassis.data.database import open_database
from ml_chassis.data.lock import LOCKS, BusyError
from ml_chassis.data.store import Store
from waiting import wait_for

HOLD = """
import sys
from ml_chassis import project
from ml_chassis.data import lock
from ml_chassis.data.store import Store
lock.LEASE_SECONDS = float(sys.argv[2])
with Store(project.read(), sys.argv[1]).only_one("retraining"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(PROJECT, database_url)
    yield store
    store.close()


def hold(url: str, seconds: float = 1) -> subprocess.Popen[str]:
    """Start a process that holds the lock until it is told to end."""
    command = [sys.executable, "-c", HOLD, url, str(seconds)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_holds_it_until_that_one_is_killed(
    database_url: str, store: Store
) -> None:
    holder = hold(database_url)
    told = f"Another retraining runs: process {holder.pid} on .*, since .* UTC"

    with pytest.raises(BusyError, match=told), store.only_one("retraining"):
        pass
    with store.only_one("something else"):
        pass
    holder.kill()
    holder.communicate()
    wait_for_release(store)


def wait_for_release(store: Store) -> None:
    """A lock in PostgreSQL ends a moment after its process."""

    def is_free() -> bool:
        try:
            with store.only_one("retraining"):
                return True
        except BusyError:
            return False

    wait_for(is_free, "the lock is free")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_lock_is_kept_for_as_long_as_its_process_lives(database_url: str, store: Store) -> None:
    holder = hold(database_url, seconds=2)
    chosen = sa.select(LOCKS.c.until)
    first, found = None, store.query(chosen)[0]["until"]
    while first is None or found < first + timedelta(seconds=3):  # past what it began with
        first = first or found
        with pytest.raises(BusyError), store.only_one("retraining"):
            pass
        found = store.query(chosen)[0]["until"]
    holder.communicate("")

    with store.only_one("retraining"):
        pass
    assert store.query(chosen) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_who_was_held_up_for_too_long_is_told_at_the_end(
    store: Store,
) -> None:
    with (
        pytest.raises(BusyError, match="another one began meanwhile"),
        store.only_one("retraining"),
        store._engine.begin() as connection,
    ):
        connection.execute(sa.update(LOCKS).values(owner="another"))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_no_statement_is_prepared_by_name(database_url: str) -> None:
    """Behind a pooler, the next transaction may be on a connection that does not know it."""
    engine = open_database(database_url, sa.MetaData(), private=False)
    for _ in range(10):
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT :value"), {"value": 1})
            names = connection.execute(sa.text("SELECT name FROM pg_prepared_statements")).all()
    assert names == []
    engine.dispose()


def test_a_file_is_locked_beside_the_database(tmp_path: Path) -> None:
    store = Store(PROJECT, f"sqlite:///{tmp_path}/service.db")
    with store.only_one("retraining"):
        assert (tmp_path / "service.db.retraining.lock").exists()
    store.close()
