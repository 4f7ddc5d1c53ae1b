"""Predict what arrives on a topic, until stopped: `make stream`."""

import asyncio
import json
import logging
import signal
import sys
import uuid
from contextlib import suppress
from time import monotonic
from typing import Any

from .. import logs, settings
from ..contract import Contract
from ..errors import UserError
from ..monitoring import metrics
from ..monitoring.exporter import Exporter
from ..project import Project
from ..serving.champion import Reloader
from ..serving.follow import Keeper, prepare
from ..serving.scoring import Scorer
from ..settings import PREFIX, Settings
from . import StreamError
from .brokers import BATCH, Stream, Topics, connect, hide_password, make_stream, start
from .consumer import Consumer, Counts, Outcome
from .events import Prediction
from .sink import Sink

LOGGER = logging.getLogger("model_service")
TICK_SECONDS = 1.0
PROGRESS_SECONDS = 5.0
EXAMPLES = 10


def run(project: Project, example: bool = False, replay: bool = False) -> int:
    """Consume, replay dead letters or send examples; return the exit code."""
    try:
        configured = settings.read()
        logs.start(configured.log_format, logging.WARNING)
        LOGGER.setLevel(logging.INFO)
        url = configured.broker_url.get_secret_value()
        if not url:
            raise StreamError(
                f"Set {PREFIX}BROKER_URL to the address of a broker, such as "
                "redis://localhost:6379; `docker run --rm -p 6379:6379 redis` starts one. "
                "Others: docs/streaming.md of the chassis."
            )
        topics = Topics.of(configured.topic, configured.model_name)
        stream = make_stream(url, topics, _quiet(logging.getLogger("model_service.broker")))
        if example:
            asyncio.run(_send_examples(project.contract, stream, url, topics))
        elif replay:
            asyncio.run(_replay(project.contract, stream, url, topics, configured))
        else:
            asyncio.run(_run(project.contract, stream, url, topics, configured))
    except ImportError as error:
        print(f"{error}. Install it: uv sync --extra streaming", file=sys.stderr)
        return 1
    except UserError as error:
        print(f"Nothing is consumed. {error}", file=sys.stderr)
        return 1
    return 0


async def _run(
    contract: Contract, stream: Stream, url: str, topics: Topics, configured: Settings
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    scorer = Scorer(contract, configured.model_seconds, max_waiting=10 * BATCH)
    reloader = Reloader(contract, scorer, prepare(configured), configured.alias)
    keeper = Keeper(configured)
    sink = Sink(contract, configured.database_url.get_secret_value())

    async def tell(outcome: Outcome) -> None:
        answered = isinstance(outcome, Prediction)
        topic = topics.predictions if answered else topics.dead_letters
        await stream.publish(topic, outcome.id, outcome.told())

    consumer = Consumer(contract, scorer, sink, tell, configured.max_body_bytes)
    await connect(stream, url)
    stream.subscribe(consumer.consume)
    exporter = Exporter(configured.host, configured.metrics_port or 0, configured.track)
    metrics.publish_start()
    if configured.metrics_port:
        exporter.start()
    try:
        await start(stream, url)
        LOGGER.info(
            "%s: events from %s as group %s, answers to %s, dead letters to %s; model %s",
            *(hide_password(url), topics.events, topics.group, topics.predictions),
            *(topics.dead_letters, scorer.model.version),
        )
        await _watch(stream, scorer, reloader, keeper, consumer.counts, stop)
    finally:
        await stream.stop()
        if configured.metrics_port:
            await exporter.stop()
        keeper.stop()
        sink.close()
    _say(consumer.counts)


async def _watch(
    stream: Stream,
    scorer: Scorer,
    reloader: Reloader,
    keeper: Keeper,
    counts: Counts,
    stop: asyncio.Event,
) -> None:
    """Do what is done beside the messages, until stopped.

    Raises:
        StreamError: the broker no longer has the topic or the group.
    """
    said, next_time = 0, monotonic() + PROGRESS_SECONDS
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), TICK_SECONDS)
        if drift := scorer.model.drift:
            drift.flush()
        keeper.check()
        await reloader.check()
        if await stream.lost():
            raise StreamError("The broker has lost the topic or the group: start again.")
        if counts.messages > said and monotonic() > next_time:
            _say(counts)
            said, next_time = counts.messages, monotonic() + PROGRESS_SECONDS


def _say(counts: Counts) -> None:
    LOGGER.info(
        "%d messages: %d predicted, %d known already, %d dead letters",
        *(counts.messages, counts.predicted, counts.duplicates, counts.dead_letters),
    )


async def _replay(
    contract: Contract, stream: Stream, url: str, topics: Topics, configured: Settings
) -> None:
    """Send each dead letter to the topic again, then forget it."""
    sink = Sink(contract, configured.database_url.get_secret_value())
    await connect(stream, url)
    await start(stream, url)
    sent = 0
    for letter in sink.buried():
        await stream.publish(topics.events, letter.id, letter.content)
        sink.forget(letter)
        sent += 1
    await stream.stop()
    sink.close()
    print(f"{sent} dead letters were sent to {topics.events} again. Next: `make stream`.")


async def _send_examples(contract: Contract, stream: Stream, url: str, topics: Topics) -> None:
    await connect(stream, url)
    await start(stream, url)
    for _ in range(EXAMPLES):
        event: dict[str, Any] = {
            "id": f"example-{uuid.uuid4().hex[:12]}",
            "row": contract.example_row(),
        }
        await stream.publish(topics.events, event["id"], json.dumps(event).encode())
    await stream.stop()
    print(json.dumps(event))
    print(f"{EXAMPLES} events like this are on {topics.events}. Next: `make stream`.")


def _quiet(logger: logging.Logger) -> logging.Logger:
    """Keep a broker's log to what is wrong, in one line each, without what messages hold."""
    logger.setLevel(logging.WARNING)
    logger.addFilter(_in_one_line)
    return logger


def _in_one_line(record: logging.LogRecord) -> bool:
    if record.exc_info and record.exc_info[1]:
        record.msg = f"{record.msg}: {record.exc_info[1]!r}"
    record.exc_info = record.exc_text = None
    return True
