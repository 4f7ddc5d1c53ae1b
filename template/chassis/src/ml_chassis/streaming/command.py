"""Predict events, or keep labels, as they arrive on a topic, until stopped: `make stream`."""

import asyncio
import json
import logging
import sys
import uuid
from typing import Any

from .. import logs, settings
from ..contract import Contract
from ..data.database import hide_password
from ..errors import UserError
from ..feedback.log import Log
from ..feedback.store import Store
from ..feedback.writer import Writers
from ..project import Project
from ..serving.champion import Reloader
from ..serving.follow import Keeper, prepare
from ..serving.scoring import Scorer
from ..settings import PREFIX, Settings
from . import StreamError
from .brokers import BATCH, Topics, connect, make_stream, start
from .event_consumer import EventConsumer
from .label_consumer import LabelConsumer
from .running import Look, Wiring, consume, stop_on_signals
from .sink import Sink

LOGGER = logging.getLogger("model_service")
EXAMPLES = 10


def run(project: Project, example: bool = False, replay: bool = False, labels: bool = False) -> int:
    """Consume, replay dead letters or send examples; return the exit code.

    Args:
        project: What the service is made of.
        example: Send examples.
        replay: Send dead letters again.
        labels: Consume labels, or replay those of them; else events.
    """
    try:
        configured = settings.read()
        logs.start(configured.log_format, logging.WARNING)
        LOGGER.setLevel(logging.INFO)
        wiring = _wiring(project.contract, configured, labels)
        if example:
            asyncio.run(_send_examples(wiring))
        elif replay:
            asyncio.run(_replay(wiring, labels))
        elif labels:
            asyncio.run(_keep_labels(wiring))
        else:
            asyncio.run(_predict(wiring))
    except ImportError as error:
        print(f"{error}. Install it: uv sync --extra streaming", file=sys.stderr)
        return 1
    except UserError as error:
        print(f"Nothing is consumed. {error}", file=sys.stderr)
        return 1
    return 0


def _wiring(contract: Contract, configured: Settings, labels: bool) -> Wiring:
    """Return what is configured.

    Raises:
        StreamError: no broker is named, or none that can be used.
    """
    url = configured.broker_url.get_secret_value()
    if not url:
        raise StreamError(
            f"Set {PREFIX}BROKER_URL to the address of a broker, such as "
            "redis://localhost:6379; `docker run --rm -p 6379:6379 redis` starts one. "
            "Others: docs/streaming.md of the chassis."
        )
    topics = Topics.of(configured.topic, configured.model_name)
    if labels and configured.labels_topic in topics.names:
        others = f"a topic that is none of {', '.join(topics.names)}"
        raise StreamError(f"{PREFIX}LABELS_TOPIC: give {others}.")
    if labels:
        topics = Topics.of_labels(configured.labels_topic, configured.model_name)
    stream = make_stream(url, topics, _quiet(logging.getLogger("model_service.broker")))
    return Wiring(contract, configured, stream, topics)


async def _predict(wiring: Wiring) -> None:
    """Predict events until stopped."""
    stop = stop_on_signals()
    contract, configured = wiring.contract, wiring.configured
    log = _log(contract, configured)
    writers = Writers(log)
    scorer = Scorer(contract, configured.model_seconds, max_waiting=10 * BATCH)
    reloader = Reloader(contract, scorer, prepare(configured), configured.alias, log)
    keeper = Keeper(configured)
    sink = Sink(contract, configured.database_url.get_secret_value())
    consumer = EventConsumer(
        contract, scorer, sink, wiring.tell, configured.max_body_bytes, writers.sample
    )
    what = f"predictions of {scorer.model.version} to {wiring.topics.predictions}"
    try:
        writers.start()
        await consume(wiring, consumer, what, stop, _beside(scorer, reloader, keeper))
    finally:
        await writers.end()
        keeper.stop()
        sink.close()


def _log(contract: Contract, configured: Settings) -> Log | None:
    url = configured.feedback_url.get_secret_value()
    if not url:
        return None
    days, joins = configured.feedback_days, bool(configured.metrics_port)
    return Log(contract, url, days, configured.track, joins=joins)


def _beside(scorer: Scorer, reloader: Reloader, keeper: Keeper) -> Look:
    """Return what counts drift and takes a new champion."""

    async def look() -> None:
        if drift := scorer.model.drift:
            drift.flush()
        keeper.check()
        await reloader.check()

    return look


async def _keep_labels(wiring: Wiring) -> None:
    """Keep labels until stopped.

    Raises:
        StreamError: no database is named.
    """
    stop = stop_on_signals()
    contract, configured = wiring.contract, wiring.configured
    url = configured.feedback_url.get_secret_value()
    if not url:
        raise StreamError(
            f"Set {PREFIX}FEEDBACK_URL to the database in which the service keeps its "
            "predictions, such as sqlite:///data/feedback.db."
        )
    store = Store(contract, url)
    sink = Sink(contract, configured.database_url.get_secret_value())
    consumer = LabelConsumer(contract, store, sink, wiring.tell, configured.max_body_bytes)
    try:
        await consume(wiring, consumer, f"labels to {hide_password(url)}", stop)
    finally:
        store.close()
        sink.close()


async def _replay(wiring: Wiring, labels: bool) -> None:
    """Send each dead letter of the topic to it again, then forget it."""
    topic = wiring.topics.source
    sink = Sink(wiring.contract, wiring.configured.database_url.get_secret_value())
    await connect(wiring.stream, wiring.url)
    await start(wiring.stream, wiring.url)
    sent = 0
    for letter in sink.buried(topic):
        await wiring.stream.publish(topic, letter.id, letter.content)
        sink.forget(letter)
        sent += 1
    await wiring.stream.stop()
    sink.close()
    following = "make stream LABELS=yes" if labels else "make stream"
    print(f"{sent} dead letters were sent to {topic} again. Next: `{following}`.")


async def _send_examples(wiring: Wiring) -> None:
    topic = wiring.topics.source
    await connect(wiring.stream, wiring.url)
    await start(wiring.stream, wiring.url)
    for _ in range(EXAMPLES):
        event: dict[str, Any] = {
            "id": f"example-{uuid.uuid4().hex[:12]}",
            "row": wiring.contract.example_row(),
        }
        await wiring.stream.publish(topic, event["id"], json.dumps(event).encode())
    await wiring.stream.stop()
    print(json.dumps(event))
    print(f"{EXAMPLES} events like this are on {topic}. Next: `make stream`.")


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
