"""What clients ask of a service while it is released, and what becomes of each request."""

import asyncio
import json
import time
from collections.abc import Sequence
from itertools import count
from threading import Event, Thread
from types import TracebackType
from typing import Self

import aiohttp

from ...loading.drive import IDLE_SECONDS
from ...observe.demo.copied import Row
from ...observe.demo.traffic import MALFORMED, REFUSED, Counts, Outcome

RATE = 100.0
"""Requests a second."""
PATIENCE_SECONDS = 15.0
MAX_CONNECTIONS = 500
"""Requests that are under way at once at most; others wait for one of them to end."""
MOST_FAILURES = 20
MOST_CHARACTERS = 300
"""Of the body of a failure that are kept."""


class Traffic:
    """Asks one row after another at a steady rate, in a thread of its own, until the block ends.

    Each request has a time at which it is sent, whatever became of those before it, and never goes
    through a proxy.

    Attributes:
        counts: What became of the requests that have ended.
        versions: How many requests each version answered, by the model or its fallback.
        failures: The first `MOST_FAILURES` that failed: status and body, or how the connection
            was lost.
        seconds: The longest that any answer, also that of a failure, took from when its request
            was due.
    """

    def __init__(self, url: str, rows: Sequence[Row], rate: float = RATE) -> None:
        """Take what is asked.

        Args:
            url: Of the service.
            rows: Those that are asked, one after another, again and again; one at least.
            rate: Requests a second.
        """
        self.counts = Counts()
        self.versions: dict[str, int] = {}
        self.failures: list[str] = []
        self.seconds = 0.0
        self._url, self._rows, self._rate = f"{url}/predict", rows, rate
        self._ended = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._run()), name="traffic")

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, once each request has been answered, or for `PATIENCE_SECONDS` has not."""
        self._ended.set()
        self._thread.join()

    async def _run(self) -> None:
        begin = time.monotonic()
        async with _open_session() as session, asyncio.TaskGroup() as sending:
            for number in count():
                due = begin + number / self._rate
                await asyncio.sleep(due - time.monotonic())  # also when late: others must run
                if self._ended.is_set():
                    return
                row = self._rows[number % len(self._rows)]
                sending.create_task(self._send(session, row, due))

    async def _send(self, session: aiohttp.ClientSession, row: Row, due: float) -> None:
        body = json.dumps({"rows": [row.features]})
        try:
            async with session.post(self._url, data=body) as answer:
                said = await answer.read()
        except (aiohttp.ClientError, OSError) as error:  # a timeout is such, too
            self._note("failed", repr(error))
            return
        self.seconds = max(self.seconds, time.monotonic() - due)
        if answer.status in REFUSED:
            self._note("refused")
        elif answer.status != 200 or (version := _version(said)) is None:
            text = said[:MOST_CHARACTERS].decode(errors="replace")
            self._note("failed", f"{answer.status} {text}")
        else:
            self.versions = {**self.versions, version: self.versions.get(version, 0) + 1}
            self._note("degraded" if "degraded" in answer.headers else "answered")

    def _note(self, outcome: Outcome, failure: str = "") -> None:
        self.counts = self.counts.plus(outcome)
        if failure and len(self.failures) < MOST_FAILURES:
            self.failures.append(failure)


def _open_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=IDLE_SECONDS),
        timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS),
        headers={"Content-Type": "application/json"},
        trust_env=False,
    )


def _version(said: bytes) -> str | None:
    """Return which version has answered; None where this is no answer."""
    try:
        return str(json.loads(said)["model_version"])
    except MALFORMED:
        return None
