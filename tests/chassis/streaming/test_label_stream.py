"""Labels by real brokers: joined to what a stream has predicted; whatever dies, none is lost."""

import json
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from brokers import Broker, Kafka, Redis
from chassis.streaming.processes import Consumer, answers, event, on, wait_for_answers
from ml_chassis.programs import free_port
from ml_chassis.streaming.brokers import Topics
from waiting import PATIENCE_SECONDS, wait_for

pytestmark = pytest.mark.slow

MANY = 500
FULL = "nothing is consumed for now"


def label(name: str, value: Any = True) -> bytes:
    """Return a message."""
    return json.dumps({"prediction_id": name, "label": value}).encode()


def joined(consumer: Consumer) -> int:
    """Return how many labels /metrics counts."""
    port = consumer.settings["MODEL_SERVICE_METRICS_PORT"]
    try:
        shown = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    except httpx.TransportError:  # it is just starting
        return 0
    name = 'model_service_labelled_rows_total{slice="(all)"'
    return sum(int(float(line.split()[-1])) for line in shown.splitlines() if line.startswith(name))


@contextmanager
def locked(consumer: Consumer) -> Iterator[None]:
    """Let nobody else write to the database of feedback."""
    with closing(sqlite3.connect(consumer.folder / "feedback.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
def settings(settings: dict[str, str], topics: Topics, tmp_path: Path) -> dict[str, str]:
    """Let predictions be kept until their labels come."""
    return settings | {
        "MODEL_SERVICE_FEEDBACK_URL": f"sqlite:///{tmp_path}/feedback.db?timeout=0.1",
        "MODEL_SERVICE_LABELS_TOPIC": f"labels-of-{topics.group}",
    }


@pytest.fixture
def consumer(consumer: Consumer) -> Consumer:
    """Return one that shows its metrics."""
    consumer.settings = consumer.settings | {"MODEL_SERVICE_METRICS_PORT": str(free_port())}
    return consumer


@pytest.fixture
def labeller(
    broker: Broker, topics: Topics, settings: dict[str, str], tmp_path: Path
) -> Iterator[Consumer]:
    """Return a consumer of labels that is not started."""
    made = Topics.of_labels(settings["MODEL_SERVICE_LABELS_TOPIC"], topics.group)
    if isinstance(broker, Kafka):
        broker.make(*made.names)
    labeller = Consumer(made, settings, tmp_path, labels=True)
    yield labeller
    labeller.end()


def test_what_a_stream_predicts_is_joined_to_labels_of_a_stream(
    broker: Broker, consumer: Consumer, labeller: Consumer
) -> None:
    consumer.start()
    labeller.start()
    broker.send(consumer.topics.source, [event("a"), event("b"), event("c")])
    wait_for_answers(broker, consumer.topics, 3)
    bad = label("a", "late")
    broker.send(labeller.topics.source, [label("a"), bad, label("b", False), label("unknown")])

    wait_for(lambda: joined(consumer) == 2, "both labels are joined")
    wait_for(lambda: len(broker.read(labeller.topics.dead_letters)) == 1, "a dead letter")
    wait_for(lambda: labeller.waiting() == 1, "the label of nothing waits")
    assert labeller.stop() == consumer.stop() == 0
    assert broker.pending(labeller.topics.source, labeller.topics.group) == 0
    assert "4 messages: 3 labels, 1 dead letters" in labeller.log
    letters = labeller.rows("SELECT body, origin FROM dead_letters")
    assert [(body, origin.partition(" ")[0]) for body, origin in letters] == [
        (bad.decode(), labeller.topics.source)
    ]


@on(Redis)
def test_a_label_before_its_prediction_waits_for_it(
    broker: Broker, consumer: Consumer, labeller: Consumer
) -> None:
    broker.send(labeller.topics.source, [label("a"), label("a")])
    labeller.start()
    wait_for(lambda: labeller.waiting() == 1, "the label waits")

    consumer.start()
    broker.send(consumer.topics.source, [event("a")])

    wait_for(lambda: joined(consumer) == 1, "it is joined")
    assert labeller.waiting() == 0


def take_first(broker: Broker, labeller: Consumer) -> None:
    """Start it, and wait until it has a label."""
    labeller.start()
    broker.send(labeller.topics.source, [label("first")])
    wait_for(lambda: labeller.waiting() == 1, "the first label waits")


def pending(broker: Broker, labeller: Consumer) -> int:
    """Return how many labels are not acknowledged."""
    return broker.pending(labeller.topics.source, labeller.topics.group)


def assert_all_are_kept(broker: Broker, labeller: Consumer) -> None:
    wait_for(lambda: labeller.waiting() == MANY + 1, "all labels wait")
    assert labeller.stop() == 0
    assert pending(broker, labeller) == 0


@on(Redis)
def test_labels_are_acknowledged_once_the_database_has_them(
    broker: Broker, labeller: Consumer
) -> None:
    take_first(broker, labeller)

    with locked(labeller):
        broker.send(labeller.topics.source, [label(f"{number}") for number in range(MANY)])
        wait_for(lambda: FULL in labeller.log, "the database is waited for")
        assert pending(broker, labeller) == MANY

    assert_all_are_kept(broker, labeller)


@on(Redis)
def test_a_killed_consumer_loses_no_label(broker: Broker, labeller: Consumer) -> None:
    take_first(broker, labeller)

    with locked(labeller):
        broker.send(labeller.topics.source, [label(f"{number}") for number in range(MANY)])
        wait_for(lambda: FULL in labeller.log, "the next are taken")
        assert labeller.stop(signal.SIGKILL) == -signal.SIGKILL
    assert labeller.waiting() == 1
    labeller.start()

    assert_all_are_kept(broker, labeller)


@on(Redis)
def test_dead_letters_are_sent_to_the_topic_that_they_came_from(
    broker: Broker, consumer: Consumer, labeller: Consumer
) -> None:
    broker.send(consumer.topics.source, [b"no JSON"])
    broker.send(labeller.topics.source, [label("a", "late"), label("b")])
    labeller.settings["MODEL_SERVICE_MAX_BODY_BYTES"] = "10"
    for each in (consumer, labeller):
        each.start()
    wait_for(lambda: len(broker.read(labeller.topics.dead_letters)) == 3, "dead letters")
    assert labeller.stop() == consumer.stop() == 0

    labeller.settings["MODEL_SERVICE_MAX_BODY_BYTES"] = "1000"
    labeller.start(replay=True)
    assert labeller.ended() == 0
    assert f"2 dead letters were sent to {labeller.topics.source} again" in labeller.log
    assert labeller.rows("SELECT body FROM dead_letters") == [("no JSON",)]
    labeller.start()

    wait_for(lambda: labeller.waiting() == 1, "the label that is valid now")
    wait_for(lambda: len(broker.read(labeller.topics.dead_letters)) == 4, "the one that is not")
    assert len(broker.read(consumer.topics.source)) == 1


@on(Redis)
def test_a_database_of_feedback_that_is_locked_holds_up_no_prediction(
    broker: Broker, consumer: Consumer, labeller: Consumer
) -> None:
    patient = f"sqlite:///{consumer.folder}/feedback.db?timeout={2 * PATIENCE_SECONDS}"
    consumer.settings["MODEL_SERVICE_FEEDBACK_URL"] = patient
    labeller.start()
    broker.send(labeller.topics.source, [label(f"{number}") for number in range(3)])
    wait_for(lambda: labeller.waiting() == 3, "the labels wait")
    consumer.start()

    with locked(labeller):
        for number in range(3):
            broker.send(consumer.topics.source, [event(f"{number}")])
            wait_for_answers(broker, consumer.topics, number + 1)
        assert joined(consumer) == 0

    wait_for(lambda: joined(consumer) == 3, "what was predicted meanwhile is joined")
    assert consumer.stop() == 0


@on(Redis)
def test_a_database_of_feedback_that_is_away_holds_up_no_prediction(
    broker: Broker, consumer: Consumer
) -> None:
    consumer.settings["MODEL_SERVICE_FEEDBACK_URL"] = "sqlite:////proc/none/feedback.db"
    consumer.start()
    broker.send(consumer.topics.source, [event("a"), event("b")])

    wait_for_answers(broker, consumer.topics, 2)

    assert {each["prediction_id"] for each in answers(broker, consumer.topics)} == {"a", "b"}
    wait_for(lambda: "predictions are not kept for their labels" in consumer.log, "it is said")
    assert consumer.stop() == 0
