"""A stream with real brokers: whatever dies, every event is answered, none predicted twice."""

import json
import multiprocessing
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from brokers import Broker, Kafka, Nats, Rabbit, Redis
from chassis.flights import CONTRACT
from ml_chassis import project
from ml_chassis.streaming import brokers, command
from ml_chassis.streaming.brokers import Topics
from ml_chassis.testing import Trained
from waiting import PATIENCE_SECONDS, wait_for

pytestmark = pytest.mark.slow

AGAIN_SECONDS = 2
MANY = 2_000
NUMBERS = count()

# Consumers are processes that differ in their settings alone, so what they import is imported once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["ml_chassis.streaming.command", "onnxruntime", "polars", "sqlalchemy.dialects.sqlite"]
    + [f"faststream.{broker}" for broker in ("kafka", "nats", "rabbit", "redis")]
)


def consume(settings: dict[str, str], log: Path, replay: bool) -> None:
    """Do what `chassis stream` does."""
    os.environ.update(settings)
    with log.open("ab") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    brokers.AGAIN_SECONDS = AGAIN_SECONDS
    raise SystemExit(command.run(project.read(), replay=replay))


@dataclass
class Consumer:
    """A process that consumes, and what it leaves behind."""

    topics: Topics
    settings: dict[str, str]
    folder: Path
    process: ForkServerProcess | None = field(default=None)

    @property
    def log(self) -> str:
        """What it said."""
        return (self.folder / "stream.log").read_text()

    def start(self, replay: bool = False) -> None:
        """Start it."""
        arguments = (self.settings, self.folder / "stream.log", replay)
        self.process = PROCESSES.Process(target=consume, args=arguments)
        self.process.start()

    def ended(self) -> int | None:
        """Wait for its end and return its exit code."""
        assert self.process
        self.process.join(PATIENCE_SECONDS)
        return self.process.exitcode

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """Send it a signal and return its exit code."""
        assert self.process
        assert self.process.pid
        os.kill(self.process.pid, number)
        return self.ended()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask its database."""
        path = self.folder / "stream.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    def kept(self) -> int:
        """Return how many predictions there are."""
        try:
            return int(self.rows("SELECT count(*) FROM predictions")[0][0])
        except (IndexError, sqlite3.OperationalError):  # it is just being made
            return 0


@pytest.fixture(scope="module")
def running() -> Iterator[dict[type[Broker], Broker]]:
    """Keep the brokers that run, one of a kind."""
    found: dict[type[Broker], Broker] = {}
    yield found
    for each in found.values():
        each.close()


@pytest.fixture(params=[Redis, Nats, Rabbit, Kafka], ids=lambda kind: kind.__name__)
def broker(
    request: pytest.FixtureRequest,
    running: dict[type[Broker], Broker],
    tmp_path_factory: pytest.TempPathFactory,
) -> Broker:
    """Return a broker that runs."""
    if request.param not in running:
        made: Broker = request.param(tmp_path_factory.mktemp("broker"))
        made.start()
        running[request.param] = made
    return running[request.param]


def on(*kinds: type[Broker]) -> pytest.MarkDecorator:
    """Run a test on some brokers only."""
    names = [kind.__name__ for kind in kinds]
    return pytest.mark.parametrize("broker", kinds, ids=names, indirect=True)


@pytest.fixture
def topics(broker: Broker) -> Topics:
    """Return topics that no other test has."""
    number = next(NUMBERS)
    made = Topics.of(f"events-{number}", f"model-{number}")
    if isinstance(broker, Kafka):
        broker.make(*made[:3])
    return made


@pytest.fixture
def consumer(
    broker: Broker, topics: Topics, trained: Trained, tmp_path: Path
) -> Iterator[Consumer]:
    """Return a consumer that is not started."""
    settings = {
        "BROKER_URL": broker.url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/stream.db",
        "MODELS_DIR": str(trained.models),
        "MODEL_NAME": topics.group,
        "TOPIC": topics.events,
    }
    prefixed = {f"MODEL_SERVICE_{name}": value for name, value in settings.items()}
    made = Consumer(topics, prefixed, tmp_path)
    yield made
    if made.process:
        made.process.kill()
        made.process.join()


def event(name: str, **changes: Any) -> bytes:
    """Return a message."""
    return json.dumps({"id": name, "row": {**CONTRACT.example_row(), **changes}}).encode()


def answers(broker: Broker, topics: Topics) -> list[dict[str, Any]]:
    """Return what was answered."""
    return [json.loads(body) for body in broker.read(topics.predictions)]


def wait_for_answers(broker: Broker, topics: Topics, number: int) -> None:
    """Wait until so many different events are answered."""

    def answered() -> bool:
        return len({each["prediction_id"] for each in answers(broker, topics)}) == number

    wait_for(answered, f"{number} answers")


def test_each_message_is_answered_once_or_buried_with_a_reason(
    broker: Broker, topics: Topics, consumer: Consumer
) -> None:
    consumer.settings["MODEL_SERVICE_MAX_BODY_BYTES"] = "2000"
    bad = {
        b"secret {": "The body is not JSON.",
        b"secret \xff\x00": "The body is not JSON.",
        event("a", wind_speed=-1): "row.wind_speed: Input should be greater than or equal to 0",
        event("long", carrier="secret" * 1_000): "Send 2000 bytes at most in one request.",
        event("a", carrier="ZZ"): "The id was used before, for another row.",
    }
    broker.send(topics.events, [event("a"), event("b"), event("a"), *bad, event("c")])

    consumer.start()

    wait_for(lambda: len(broker.read(topics.dead_letters)) >= len(bad), "dead letters")
    wait_for(lambda: len(answers(broker, topics)) >= 4, "answers")
    assert consumer.stop() == 0
    assert broker.pending(topics.events, topics.group) == 0
    told = answers(broker, topics)
    assert Counter(each["prediction_id"] for each in told) == {"a": 2, "b": 1, "c": 1}
    assert len({each["prediction"] for each in told}) == 1
    assert consumer.kept() == 3
    letters = consumer.rows("SELECT reason, body, raw, origin FROM dead_letters")
    assert len(letters) == len(bad)
    for reason, body, raw, origin in letters:
        assert bad[raw or body.encode()] in reason
        assert origin.startswith(topics.events)
    assert "9 messages: 3 predicted, 1 known already, 5 dead letters" in consumer.log
    assert "secret" not in consumer.log


def test_dead_letters_are_replayed_after_a_fix(
    broker: Broker, topics: Topics, consumer: Consumer
) -> None:
    broker.send(topics.events, [event("a"), event("b"), b"no JSON"])
    consumer.settings["MODEL_SERVICE_MAX_BODY_BYTES"] = "10"
    consumer.start()
    wait_for(lambda: len(broker.read(topics.dead_letters)) == 3, "dead letters")
    assert consumer.stop() == 0
    assert consumer.kept() == 0

    consumer.settings["MODEL_SERVICE_MAX_BODY_BYTES"] = "1000"
    consumer.start(replay=True)
    assert consumer.ended() == 0
    assert f"3 dead letters were sent to {topics.events} again" in consumer.log
    consumer.start()

    wait_for(lambda: len(broker.read(topics.dead_letters)) == 4, "the one that is still bad")
    wait_for_answers(broker, topics, 2)
    assert consumer.stop() == 0
    assert consumer.rows("SELECT body FROM dead_letters") == [("no JSON",)]


def test_a_killed_consumer_loses_nothing_and_predicts_nothing_twice(
    broker: Broker, topics: Topics, consumer: Consumer
) -> None:
    names = [str(number) for number in range(MANY)]
    broker.send(
        topics.events, [event(name, distance=number + 1) for number, name in enumerate(names)]
    )

    consumer.start()
    wait_for(lambda: consumer.kept() > 0, "the first batch")
    assert consumer.stop(signal.SIGKILL) == -signal.SIGKILL
    assert 0 < consumer.kept() < MANY
    before = consumer.rows("SELECT * FROM predictions")
    consumer.start()

    wait_for_answers(broker, topics, MANY)
    assert consumer.stop() == 0
    assert broker.pending(topics.events, topics.group) == 0
    assert consumer.kept() == MANY
    assert set(before) <= set(consumer.rows("SELECT * FROM predictions"))
    told = {(each["prediction_id"], each["prediction"]) for each in answers(broker, topics)}
    assert told == set(consumer.rows("SELECT id, prediction FROM predictions"))


def test_a_broker_that_restarts_is_waited_for(
    broker: Broker, topics: Topics, consumer: Consumer
) -> None:
    consumer.start()
    broker.send(topics.events, [event(f"before-{number}") for number in range(20)])
    wait_for_answers(broker, topics, 20)

    broker.stop()
    broker.start()
    broker.send(topics.events, [event(f"after-{number}") for number in range(20)])

    wait_for_answers(broker, topics, 40)
    assert consumer.stop() == 0
    assert broker.pending(topics.events, topics.group) == 0
    assert consumer.kept() == 40


# On Redis, whoever adds an answer makes the stream for it.
@pytest.mark.parametrize(
    ("broker", "lost"),
    [(Redis, "events"), *((kind, lost) for kind in (Nats, Rabbit) for lost in Topics._fields[:2])],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
    indirect=["broker"],
)
def test_a_broker_that_lost_a_topic_ends_the_consumer(
    broker: Broker, topics: Topics, consumer: Consumer, lost: str
) -> None:
    broker.send(topics.events, [event("a")])
    consumer.start()
    wait_for_answers(broker, topics, 1)

    broker.lose(getattr(topics, lost))

    assert consumer.ended() == 1
    assert "The broker has lost the topic or the group" in consumer.log
    assert "Traceback" not in consumer.log


@on(Nats, Rabbit)
def test_a_topic_that_is_lost_after_a_restart_ends_the_consumer_too(
    broker: Broker, topics: Topics, consumer: Consumer
) -> None:
    consumer.start()
    broker.send(topics.events, [event("a")])
    wait_for_answers(broker, topics, 1)
    broker.stop()
    broker.start()
    broker.send(topics.events, [event("b")])
    wait_for_answers(broker, topics, 2)

    broker.lose(topics.predictions)

    assert consumer.ended() == 1
    assert "The broker has lost the topic or the group" in consumer.log


@on(Rabbit)
def test_a_queue_that_another_has_for_itself_is_told_in_a_line(
    broker: Rabbit, topics: Topics, consumer: Consumer
) -> None:
    with broker.exclusively(topics.events):
        consumer.start()
        assert consumer.ended() == 1

    assert "exclusive" in consumer.log
    assert "Traceback" not in consumer.log
    assert "destroyed" not in consumer.log


@on(Rabbit)
def test_queues_that_exist_are_used_as_they_are(
    broker: Rabbit, topics: Topics, consumer: Consumer
) -> None:
    broker.declare(topics.events, **{"x-queue-type": "quorum"})
    broker.declare(topics.predictions, **{"x-queue-type": "quorum"})
    broker.send(topics.events, [event("a")])

    consumer.start()

    wait_for_answers(broker, topics, 1)
    assert consumer.stop(signal.SIGINT) == 0
    assert broker.pending(topics.events, topics.group) == 0
