"""Calls to another service that may be slow, wrong or down, such that ours is none of it.

    latest = resilient("prices", fetch, Limits())
    found = await latest("article-17")

`fetch` makes one call about one key and raises `SourceError` when it fails; it may speak HTTP, or
ask a database or a broker. What is put around it: requests at the same time share one call; a
failed call is repeated, as long as the budget allows; a value is used again while it is fresh;
after repeated failures a key rests, and is then asked about once; while nothing better is to be
had, the last good value is given. All of it lives in the memory of one worker.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import stamina

from ..monitoring import metrics

LOGGER = logging.getLogger("model_service")
MINUTE = 60
MAX_KEYS = 10_000
MAX_WAIT_SECONDS = 300
WAIT = "wait"

# Repeated calls are counted here; the metric that stamina makes is not one of ours.
stamina.instrumentation.set_on_retry_hooks([])

T = TypeVar("T")
Fetch = Callable[[str], Awaitable[T]]


class SourceError(Exception):
    """A call failed."""

    def __init__(self, result: str, *, repeat: bool = False, wait_seconds: float = 0) -> None:
        """Take why, in a word for the metrics, and whether and when to call again."""
        super().__init__(result)
        self.result = result
        self.repeat = repeat
        self.wait_seconds = min(wait_seconds, MAX_WAIT_SECONDS)


@dataclass(frozen=True)
class Limits:
    """What a source is allowed; times are in seconds."""

    budget: float = 0.5
    """How long a request waits for a value, whatever happens."""
    attempts: int = 3
    """Calls within the budget."""
    min_calls: int = 3
    """Calls within a minute, repeated ones not counted: when half of them failed, a key rests."""
    pause: float = 10
    """How long it rests."""
    fresh: float = 300
    """How long a value is used before the source is asked again."""
    keep: float = 7_200
    """How long the last good value is used while the source fails."""


class Found(NamedTuple, Generic[T]):
    """A value, and whether it is fresh or the last known one."""

    value: T
    live: bool


def resilient(
    source: str, fetch: Fetch[T], limits: Limits
) -> Callable[[str], Awaitable[Found[T] | None]]:
    """Return what finds the value of a key; it answers within the budget, None without a value."""
    # With it come whole libraries for databases, where they are installed.
    from cashews import Cache, CircuitBreakerOpen

    cache = Cache()
    # Expired keys go when they are looked up or when there are too many: no task watches them.
    cache.setup("mem://", size=MAX_KEYS, check_interval=0)
    repeating = stamina.AsyncRetryingCaller(
        attempts=limits.attempts,
        timeout=limits.budget,
        wait_initial=limits.budget / 20,
        wait_jitter=limits.budget / 10,
    )

    @cache.circuit_breaker(
        errors_rate=50, period=MINUTE, min_calls=limits.min_calls, ttl=limits.pause, key="{key}"
    )
    async def call(key: str) -> T:
        ends = time.monotonic() + limits.budget

        def next_call(error: Exception) -> bool | float:
            if not isinstance(error, SourceError) or not error.repeat:
                return False
            return error.wait_seconds < ends - time.monotonic() and (error.wait_seconds or True)

        async with asyncio.timeout(limits.budget):
            return await repeating(next_call, counted(source, fetch), key)

    @cache.soft(ttl=limits.keep, soft_ttl=limits.fresh, key="{key}")
    async def ask(key: str) -> tuple[float, T]:
        try:
            if await cache.exists(WAIT):
                raise CircuitBreakerOpen
            value = await call(key)
            return time.time(), value
        except CircuitBreakerOpen:
            metrics.count_source_call(source, "paused")
            raise
        except SourceError as error:
            if error.wait_seconds:
                await cache.set(WAIT, value=True, expire=error.wait_seconds)
            LOGGER.warning("%s gave no value: %s", source, error)
            raise
        except TimeoutError:
            LOGGER.warning("%s gave no value in %g s", source, limits.budget)
            raise

    async def find(key: str) -> Found[T] | None:
        try:
            # Others wait for the same call: it goes on when this request is given up.
            found_at, value = await asyncio.shield(ask(key))
        except (SourceError, TimeoutError, CircuitBreakerOpen):
            return None
        return Found(value, live=time.time() - found_at < limits.fresh)

    return find


def counted(source: str, fetch: Fetch[T]) -> Fetch[T]:
    """Count each call by its result, and make its failures ones of the source."""

    async def fetch_counted(key: str) -> T:
        result = "timeout"  # when the budget ends the call
        try:
            value = await fetch(key)
            result = "ok"
            return value
        except SourceError as error:
            result = error.result
            raise
        except Exception as error:
            result = "error"
            LOGGER.exception("%s failed", source)
            raise SourceError(result) from error
        finally:
            metrics.count_source_call(source, result)

    return fetch_counted
