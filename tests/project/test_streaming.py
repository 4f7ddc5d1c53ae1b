"""A stream with real brokers: whatever dies, every event is answered, none predicted twice."""

import json
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from project.brokers import Broker, Nats, Redis
from project.containers import wait_for
from project.tools import make, run

EVENTS, ANSWERS, DEAD = "events", "model.predictions", "model.dead-letters"
SECONDS = 60
MANY = 2_500
EXAMPLE = (
    "import json; from ml_chassis import project;"
    " print(json.dumps(project.read().contract.example_row()))"
)


@pytest.fixture(params=[Redis, Nats], ids=["redis", "nats"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Run a broker."""
    running: Broker = request.param(tmp_path)
    running.start()
    yield running
    running.stop()


@dataclass
class Consumer:
    """The command of `make stream`, a process of its own."""

    project: Path
    env: dict[str, str]
    database: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        command = [".venv/bin/chassis", "stream"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.project, env=self.env, stdout=log, stderr=log
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal and return its exit code."""
        assert self.process
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        self.process = None
        return code

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the database."""
        if not self.database.exists():
            return []
        with closing(sqlite3.connect(self.database, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    def kept(self) -> int:
        """Return how many predictions there are."""
        try:
            return int(self.rows("SELECT count(*) FROM predictions")[0][0])
        except (IndexError, sqlite3.OperationalError):  # it is just being made
            return 0


@pytest.fixture
def consumer(
    trained_project: Path, env: dict[str, str], broker: Broker, tmp_path: Path
) -> Iterator[Consumer]:
    """Return a consumer that is not started."""
    database = tmp_path / "stream.db"
    settings = {
        "MODEL_SERVICE_BROKER_URL": broker.url,
        "MODEL_SERVICE_DATABASE_URL": f"sqlite:///{database}",
    }
    made = Consumer(trained_project, {**env, **settings}, database, tmp_path / "stream.log")
    yield made
    if made.process:
        made.process.kill()
        made.process.wait()


@pytest.fixture(scope="module")
def event(trained_project: Path, env: dict[str, str]) -> Callable[..., bytes]:
    """Return event(id, **changes), the body of a message."""
    row = json.loads(run(trained_project, ".venv/bin/python", "-c", EXAMPLE, env=env).stdout)

    def make_event(name: str, **changes: Any) -> bytes:
        return json.dumps({"id": name, "row": {**row, **changes}}).encode()

    return make_event


def answers(broker: Broker) -> list[dict[str, Any]]:
    """Return what was answered."""
    return [json.loads(body) for body in broker.read(ANSWERS)]


def test_each_message_is_answered_once_or_buried_with_a_reason(
    broker: Broker, consumer: Consumer, event: Callable[..., bytes]
) -> None:
    consumer.env["MODEL_SERVICE_MAX_BODY_BYTES"] = "2000"
    bad = {
        b"secret {": "The body is not JSON.",
        b"secret \xff\x00": "The body is not JSON.",
        event("a", wind_speed=-1): "row.wind_speed: Input should be greater than or equal to 0",
        event("long", carrier="secret" * 1_000): "Send 2000 bytes at most in one request.",
        event("a", carrier="ZZ"): "The id was used before, for another row.",
    }
    broker.send(EVENTS, [event("a"), event("b"), event("a"), *bad, event("c")])

    consumer.start()

    wait_for(lambda: len(broker.read(DEAD)) >= len(bad), SECONDS, "dead letters")
    wait_for(lambda: len(answers(broker)) >= 4, SECONDS, "answers")
    assert consumer.stop() == 0
    assert broker.pending(EVENTS, "model") == 0
    assert Counter(each["prediction_id"] for each in answers(broker)) == {"a": 2, "b": 1, "c": 1}
    assert len({each["prediction"] for each in answers(broker)}) == 1
    assert consumer.kept() == 3
    letters = consumer.rows("SELECT reason, body, raw, origin FROM dead_letters")
    assert len(letters) == len(bad)
    for reason, body, raw, origin in letters:
        assert bad[raw or body.encode()] in reason
        assert origin.startswith("events ")
    log = consumer.log.read_text()
    assert "9 messages: 3 predicted, 1 known already, 5 dead letters" in log
    assert "secret" not in log


def test_dead_letters_are_replayed_after_a_fix(
    broker: Broker, consumer: Consumer, event: Callable[..., bytes]
) -> None:
    broker.send(EVENTS, [event("a"), event("b"), b"no JSON"])
    consumer.env["MODEL_SERVICE_MAX_BODY_BYTES"] = "10"
    consumer.start()
    wait_for(lambda: len(broker.read(DEAD)) == 3, SECONDS, "dead letters")
    assert consumer.stop() == 0
    assert consumer.kept() == 0

    del consumer.env["MODEL_SERVICE_MAX_BODY_BYTES"]
    said = make(consumer.project, consumer.env, "stream", "REPLAY=yes")
    assert "3 dead letters were sent to events again" in said
    consumer.start()

    wait_for(lambda: len(broker.read(DEAD)) == 4, SECONDS, "the one that is still bad")
    wait_for(lambda: len(answers(broker)) == 2, SECONDS, "answers")
    assert consumer.stop() == 0
    assert consumer.rows("SELECT body FROM dead_letters") == [("no JSON",)]


def test_a_killed_consumer_loses_nothing_and_predicts_nothing_twice(
    broker: Broker, consumer: Consumer, event: Callable[..., bytes]
) -> None:
    names = [str(number) for number in range(MANY)]
    broker.send(EVENTS, [event(name, distance=number + 1) for number, name in enumerate(names)])

    consumer.start()
    wait_for(lambda: consumer.kept() > 0, SECONDS, "the first batch")
    assert consumer.stop(signal.SIGKILL) == -signal.SIGKILL
    assert 0 < consumer.kept() < MANY
    before = consumer.rows("SELECT * FROM predictions")
    consumer.start()

    wait_for(lambda: broker.pending(EVENTS, "model") == 0, SECONDS, "all is acknowledged")
    assert consumer.stop() == 0
    assert consumer.kept() == MANY
    assert set(before) <= set(consumer.rows("SELECT * FROM predictions"))
    told = {(each["prediction_id"], each["prediction"]) for each in answers(broker)}
    assert {name for name, _ in told} == set(names)
    assert told == set(consumer.rows("SELECT id, prediction FROM predictions"))


def test_a_broker_that_restarts_is_waited_for(
    broker: Broker, consumer: Consumer, event: Callable[..., bytes]
) -> None:
    consumer.start()
    broker.send(EVENTS, [event(f"before-{number}") for number in range(20)])
    wait_for(lambda: len(answers(broker)) == 20, SECONDS, "answers")

    broker.stop()
    broker.start()
    broker.send(EVENTS, [event(f"after-{number}") for number in range(20)])

    wait_for(lambda: broker.pending(EVENTS, "model") == 0, SECONDS, "all is acknowledged")
    assert {each["prediction_id"] for each in answers(broker)} == {
        f"{when}-{number}" for when in ("before", "after") for number in range(20)
    }
    assert consumer.kept() == 40
    assert consumer.stop() == 0


def test_a_broker_that_lost_the_topic_ends_the_consumer(
    broker: Broker, consumer: Consumer, event: Callable[..., bytes]
) -> None:
    broker.send(EVENTS, [event("a")])
    consumer.start()
    wait_for(lambda: len(answers(broker)) == 1, SECONDS, "an answer")

    broker.lose(EVENTS)

    assert consumer.process
    assert consumer.process.wait(SECONDS) == 1
    assert "The broker has lost the topic or the group" in consumer.log.read_text()
    assert "Traceback" not in consumer.log.read_text()


def test_a_newcomer_sees_it_work(broker: Broker, consumer: Consumer) -> None:
    assert "10 events" in make(consumer.project, consumer.env, "stream", "EXAMPLE=yes")

    consumer.start()

    wait_for(lambda: len(answers(broker)) == 10, SECONDS, "answers")
    assert consumer.stop(signal.SIGINT) == 0


def test_without_a_broker_it_says_what_to_set(trained_project: Path, env: dict[str, str]) -> None:
    done = run(trained_project, "make", "stream", env=env)

    assert done.returncode != 0
    assert "Set MODEL_SERVICE_BROKER_URL" in done.stdout
    assert "Traceback" not in done.stdout
