"""A consumer and its broker, from the first message until it is stopped."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import NamedTuple

from ..contract import Contract
from ..monitoring import metrics
from ..monitoring.exporter import Exporter
from ..settings import Settings
from . import StreamError
from .brokers import Stream, Topics, connect, hide_password, start
from .consumer import Consumer, Outcome
from .events import Prediction

LOGGER = logging.getLogger("model_service")
TICK_SECONDS = 1.0
PROGRESS_SECONDS = 5.0

Look = Callable[[], Awaitable[None]]
"""What is done once a second beside the messages."""


class Wiring(NamedTuple):
    """What a command of `make stream` is given."""

    contract: Contract
    configured: Settings
    stream: Stream
    topics: Topics

    @property
    def url(self) -> str:
        """The address of the broker."""
        return self.configured.broker_url.get_secret_value()

    async def tell(self, outcome: Outcome) -> None:
        """Publish what became of a message."""
        answered = isinstance(outcome, Prediction)
        topic = self.topics.predictions if answered else self.topics.dead_letters
        await self.stream.publish(topic, outcome.id, outcome.told())


def stop_on_signals() -> asyncio.Event:
    """Return what SIGTERM and Ctrl-C set from now on."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def consume(
    wiring: Wiring, consumer: Consumer, what: str, stop: asyncio.Event, look: Look | None = None
) -> None:
    """Consume until stopped, and say what became of the messages.

    Args:
        wiring: What is configured.
        consumer: Settles the messages.
        what: Becomes of them, for the log.
        stop: Ends it.
        look: Is called once a second.

    Raises:
        StreamError: the broker does not answer at the start, or has lost the topic or the group.
    """
    stream, topics = wiring.stream, wiring.topics
    await connect(stream, wiring.url)
    stream.subscribe(consumer.consume)
    async with _metrics(wiring.configured):
        try:
            await start(stream, wiring.url)
            LOGGER.info(
                "%s: topic %s as group %s, dead letters to %s; %s",
                *(hide_password(wiring.url), topics.source, topics.group, topics.dead_letters),
                what,
            )
            await watch(stream, consumer, stop, look)
        finally:
            await stream.stop()
    LOGGER.info("%s", consumer.summary)


@asynccontextmanager
async def _metrics(configured: Settings) -> AsyncIterator[None]:
    """Answer /metrics, where a port is set for it."""
    metrics.publish_start()
    if not configured.metrics_port:
        yield
        return
    from ..serving.worker import BoundedProtocol  # with Gunicorn, which nothing else here needs

    place = configured.host, configured.metrics_port
    exporter = Exporter(*place, configured.track, BoundedProtocol)
    exporter.start()
    try:
        yield
    finally:
        await exporter.stop()


async def watch(
    stream: Stream, consumer: Consumer, stop: asyncio.Event, look: Look | None = None
) -> None:
    """Do what is done beside the messages, until stopped.

    Raises:
        StreamError: the broker no longer has the topic or the group.
    """
    said, next_time = 0, monotonic() + PROGRESS_SECONDS
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), TICK_SECONDS)
        if look:
            await look()
        if await stream.lost():
            raise StreamError("The broker has lost the topic or the group: start again.")
        if (messages := consumer.counts.total()) > said and monotonic() > next_time:
            LOGGER.info("%s", consumer.summary)
            said, next_time = messages, monotonic() + PROGRESS_SECONDS
