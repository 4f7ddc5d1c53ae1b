"""Two do not do the same at once, and who has died is in nobody's way."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from chassis.flights import PROJECT
from ml_chassis.data.lock import BusyError
from ml_chassis.data.store import Store

HOLD = """
import sys
from ml_chassis import project
from ml_chassis.data.store import Store
with Store(project.read(), sys.argv[1]).only_one("retraining"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(PROJECT, database_url)
    yield store
    store.close()


def hold(url: str) -> subprocess.Popen[str]:
    """Start a process that holds the lock until it is told to end."""
    command = [sys.executable, "-c", HOLD, url]
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
    """A server notices after a moment that a connection has ended."""
    give_up = time.monotonic() + 10
    while True:
        try:
            with store.only_one("retraining"):
                return
        except BusyError:
            assert time.monotonic() < give_up
            time.sleep(0.05)
