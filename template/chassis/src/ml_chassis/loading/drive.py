"""Send requests, first at the stated rate and then as fast as the service answers.

At the stated rate each request has a time at which it is to be sent, whatever became of those
before it, and its latency counts from then: a service that stalls is charged for every request
that its callers would have sent meanwhile (no coordinated omission).
"""

import asyncio
import json
import selectors
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from random import Random
from typing import NamedTuple

import aiohttp

from ..contract import Contract
from ..errors import UserError
from ..slo import Traffic
from .payloads import SEED, bodies

RATE_PART = 0.8
"""Part of the time in which the stated rate is held; in the rest the service runs at full speed."""
CALLERS = 16
"""At full speed so many callers per worker send their next request when the last is answered."""
GIVE_UP_SECONDS = 10
SMALL_BODIES, LARGE_BODIES = 500, 20
# A server closes idle connections after a few seconds: never send on one that it may be closing.
IDLE_SECONDS = 2
MAX_CONNECTIONS = 500


class Outcome(NamedTuple):
    """What became of one request; times in seconds on the monotonic clock."""

    due: float
    sent: float
    done: float
    full_speed: bool
    large: bool
    degraded: bool
    failure: str
    """Why it was not answered: an HTTP status, or how the connection was lost; "" if it was."""

    @property
    def latency(self) -> float:
        """Seconds from when it was to be sent to its answer; without an answer, no end of them."""
        return float("inf") if self.failure else self.done - self.due


class Caller:
    """Sends requests to one service and notes what becomes of them."""

    def __init__(
        self, contract: Contract, session: aiohttp.ClientSession, url: str, traffic: Traffic
    ) -> None:
        """Make the payloads."""
        self.outcomes: list[Outcome] = []
        self.version = "unknown"
        self._session = session
        self._url = f"{url}/predict"
        self._traffic = traffic
        small = bodies(contract, SMALL_BODIES, traffic.rows_per_request)
        large = bodies(contract, LARGE_BODIES, traffic.large_rows) if traffic.large_share else []
        self._every = [*small, *large]
        self._small, self._large = cycle(small), cycle(large)

    async def warm_up(self) -> None:
        """Send every payload once; nothing is noted.

        Raises:
            UserError: there is no service, or it refuses a payload.
        """
        waiting = iter(self._every)
        await asyncio.gather(*(self._check(waiting) for _ in range(CALLERS)))

    async def hold_rate(self, seconds: float) -> None:
        """Send at the stated rate."""
        random = Random(SEED)  # noqa: S311 - no secret is made of it
        rate, begin = self._traffic.requests_per_second, time.monotonic()
        async with asyncio.TaskGroup() as sending:
            for number in range(round(rate * seconds)):
                due = begin + number / rate
                await asyncio.sleep(due - time.monotonic())  # also when late: others must run
                large = random.random() < self._traffic.large_share
                sending.create_task(self._send(due, large=large))

    async def run_at_full_speed(self, seconds: float, callers: int) -> None:
        """Let callers send one request after another, each of the stated number of rows."""
        end = time.monotonic() + seconds

        async def call() -> None:
            while (now := time.monotonic()) < end:
                await self._send(now, full_speed=True)

        await asyncio.gather(*(call() for _ in range(callers)))

    async def _send(self, due: float, *, large: bool = False, full_speed: bool = False) -> None:
        body = next(self._large if large else self._small)
        degraded, failure, sent = False, "", time.monotonic()
        try:
            async with self._session.post(self._url, data=body) as answer:
                await answer.read()
                degraded = "degraded" in answer.headers
                # Every payload was accepted before: what is refused now, the service has failed.
                failure = "" if answer.status == 200 else str(answer.status)
        except TimeoutError:
            failure = f"no answer in {GIVE_UP_SECONDS} s"
        except aiohttp.ClientError as error:
            failure = type(error).__name__
        done = time.monotonic()
        self.outcomes.append(Outcome(due, sent, done, full_speed, large, degraded, failure))

    async def _check(self, waiting: Iterator[bytes]) -> None:
        for body in waiting:
            try:
                async with self._session.post(self._url, data=body) as answer:
                    said = await answer.text()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise UserError(f"No service at {self._url}: {error or 'no answer'}") from None
            if 400 <= answer.status < 500 and answer.status != 429:
                raise UserError(f"{self._url} refuses a valid request: {answer.status} {said}")
            if answer.status == 200:
                self.version = _version(self._url, said)


def _version(url: str, said: str) -> str:
    try:
        return str(json.loads(said)["model_version"])
    except (ValueError, LookupError, TypeError):
        raise UserError(f"{url} answers something else than predictions: {said[:200]}") from None


def open_session(keys: Sequence[str]) -> aiohttp.ClientSession:
    """Return a client that opens a connection whenever none is free, and sends the first key."""
    headers = {"Content-Type": "application/json"}
    if keys:
        headers["Authorization"] = f"Bearer {keys[0]}"
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=IDLE_SECONDS),
        timeout=aiohttp.ClientTimeout(total=GIVE_UP_SECONDS),
        headers=headers,
    )


def exact_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop whose timers are exact: the usual ones are up to 1 ms late."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())
