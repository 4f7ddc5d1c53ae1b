"""Consumers as processes: these differ in their settings alone, so imports are done once."""

import json
import multiprocessing
import os
import signal
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from brokers import Broker
from chassis.flights import CONTRACT
from ml_chassis import project
from ml_chassis.feedback import log
from ml_chassis.streaming import brokers, command
from ml_chassis.streaming.brokers import Topics
from waiting import PATIENCE_SECONDS, wait_for

AGAIN_SECONDS = 2

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["ml_chassis.streaming.command", "onnxruntime", "polars", "sqlalchemy.dialects.sqlite"]
    + [f"faststream.{broker}" for broker in ("kafka", "nats", "rabbit", "redis")]
)


def consume(settings: dict[str, str], said: Path, replay: bool, labels: bool) -> None:
    """Do what `chassis stream` does."""
    os.environ.update(settings)
    with said.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    brokers.AGAIN_SECONDS = AGAIN_SECONDS
    log.JOIN_SECONDS = 0
    raise SystemExit(command.run(project.read(), replay=replay, labels=labels))


@dataclass
class Consumer:
    """A process that consumes, and what it leaves behind."""

    topics: Topics
    settings: dict[str, str]
    folder: Path
    labels: bool = False
    process: ForkServerProcess | None = field(default=None)

    @property
    def log(self) -> str:
        """What it said."""
        return self._said.read_text() if self._said.exists() else ""

    @property
    def _said(self) -> Path:
        return self.folder / f"{self.topics.source}.log"

    def start(self, replay: bool = False) -> None:
        """Start it."""
        arguments = (self.settings, self._said, replay, self.labels)
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

    def end(self) -> None:
        """Kill it, where it still runs."""
        if self.process:
            self.process.kill()
            self.process.join()

    def rows(self, query: str, database: str = "stream.db") -> list[tuple[Any, ...]]:
        """Ask a database."""
        path = self.folder / database
        if not path.exists():
            return []
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    def kept(self) -> int:
        """Return how many predictions there are."""
        return self._counted("SELECT count(*) FROM predictions", "stream.db")

    def waiting(self) -> int:
        """Return how many labels wait for their predictions."""
        return self._counted("SELECT count(*) FROM feedback_labels", "feedback.db")

    def _counted(self, query: str, database: str) -> int:
        try:
            return int(self.rows(query, database)[0][0])
        except (IndexError, sqlite3.OperationalError):  # it is just being made
            return 0


def on(*kinds: type[Broker]) -> pytest.MarkDecorator:
    """Run a test on some brokers only."""
    names = [kind.__name__ for kind in kinds]
    return pytest.mark.parametrize("broker", kinds, ids=names, indirect=True)


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
