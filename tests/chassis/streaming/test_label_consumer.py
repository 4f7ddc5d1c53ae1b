"""Labels that come by a stream: kept for their predictions, or buried as POST /feedback refuses."""

import asyncio
import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.flights import CONTRACT
from chassis.streaming.told import Told, consume
from ml_chassis.feedback.log import Log
from ml_chassis.feedback.store import PREDICTIONS, Store
from ml_chassis.monitoring.quality import Joined, Kept
from ml_chassis.serving.feedback import answer
from ml_chassis.serving.messages import RefusedError
from ml_chassis.streaming.events import DeadLetter, Received
from ml_chassis.streaming.label_consumer import LabelConsumer
from ml_chassis.streaming.sink import Sink

MAX_BYTES = 1_000
PREDICTED = Kept("a", "v1", "stable", 0.25, 0.2, "0.2 to 0.3", True, {"carrier": "UA"})


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """Return where labels are kept."""
    opened = Store(CONTRACT, database_url)
    yield opened
    opened.close()


@pytest.fixture
def sink(database_url: str) -> Iterator[Sink]:
    """Return where dead letters are kept."""
    opened = Sink(CONTRACT, database_url)
    yield opened
    opened.close()


def make(store: Store, sink: Sink, told: Told) -> LabelConsumer:
    return LabelConsumer(CONTRACT, store, sink, told, MAX_BYTES)


def label(name: str, value: Any) -> Received:
    body = json.dumps({"prediction_id": name, "label": value}).encode()
    return Received(f"labels {name}", body)


def test_a_label_is_joined_by_whoever_predicts(store: Store, sink: Sink) -> None:
    told = Told()
    store.keep([PREDICTED])
    with_mark = label("b", False)._replace(body=BOM_UTF8 + label("b", False).body)

    consumer = make(store, sink, told)
    consume(consumer, label("a", True), with_mark)

    assert store.join(datetime.min).joined == [Joined(PREDICTED, True)]
    assert store.keep([PREDICTED._replace(id="b")])[0].label is False
    assert told == []
    assert consumer.counts == {"label": 2, "dead_letter": 0}


def test_a_label_that_comes_again_changes_nothing(
    store: Store, sink: Sink, database_url: str
) -> None:
    engine = sa.create_engine(database_url)

    def rows() -> list[Any]:
        with engine.begin() as connection:
            return list(connection.execute(sa.select(PREDICTIONS)).all())

    store.keep([PREDICTED])
    consume(make(store, sink, Told()), label("a", True), label("a", True))
    assert len(store.join(datetime.min).joined) == 1
    before = rows()

    consume(make(store, sink, Told()), label("a", True))

    assert store.join(datetime.min) == ([], 1, 0, 0)
    assert rows() == before
    engine.dispose()


def test_of_two_labels_the_one_that_is_read_last_stays(store: Store, sink: Sink) -> None:
    consume(make(store, sink, Told()), label("a", True), label("a", False))

    assert store.keep([PREDICTED])[0].label is False


@pytest.mark.parametrize(
    "message",
    [
        {"prediction_id": "a", "label": "late"},
        {"prediction_id": "a", "label": None},
        {"prediction_id": "a"},
        {"label": True},
        {"prediction_id": "a b", "label": True},
        {"prediction_id": 7, "label": True},
        {"prediction_id": "a", "label": True, "x": 1},
    ],
)
def test_a_bad_label_is_buried_with_the_words_of_the_service(
    message: Any, store: Store, sink: Sink, database_url: str
) -> None:
    handler = answer(CONTRACT, Log(CONTRACT, database_url, 90, "stable"), 1_000)
    told = Told()
    with pytest.raises(RefusedError) as refused:
        asyncio.run(handler({}, json.dumps({"labels": [message]}).encode()))  # type: ignore[arg-type]

    consumer = make(store, sink, told)
    consume(consumer, Received("labels 7", json.dumps(message).encode()), label("good", True))

    (letter,) = told
    assert isinstance(letter, DeadLetter)
    # There, a label is one of several.
    assert letter.reason == refused.value.refusal.text.replace("Row 0, ", "")
    assert list(sink.buried("labels")) == [letter]
    assert store.add({"good": True, "a": True}).waiting == 2
    assert consumer.counts == {"label": 1, "dead_letter": 1}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"no JSON", "The body is not JSON."),
        (b"\xff", "The body is not JSON."),
        (b"[]", "The request is not valid."),
        (b" " * (MAX_BYTES + 1), f"Send {MAX_BYTES} bytes at most"),
    ],
)
def test_what_is_no_label_is_buried(body: bytes, reason: str, store: Store, sink: Sink) -> None:
    told = Told()

    consume(make(store, sink, told), Received("labels 7", body))

    (letter,) = told
    assert isinstance(letter, DeadLetter)
    assert reason in letter.reason
    assert letter.content == body


def test_dead_letters_are_told_apart_by_their_topic(store: Store, sink: Sink) -> None:
    consumer = make(store, sink, Told())
    for origin in ("labels 7", "labels", "Labels 7", "labels.old 7", "events 7"):
        consume(consumer, Received(origin, b"no JSON"))

    assert [letter.origin for letter in sink.buried("labels")] == ["labels 7", "labels"]
