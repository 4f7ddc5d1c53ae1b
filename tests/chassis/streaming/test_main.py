"""The command: what it says when it cannot start, and what it does beside the messages."""

import asyncio
import time
from pathlib import Path

import pytest

from chassis.command import chassis
from chassis.flights import CONTRACT
from chassis.streaming.told import Told
from ml_chassis import registry
from ml_chassis.serving.champion import Reloader
from ml_chassis.serving.follow import Keeper
from ml_chassis.serving.scoring import Scorer
from ml_chassis.settings import Settings
from ml_chassis.streaming import StreamError, command
from ml_chassis.streaming.brokers import Topics, make_stream
from ml_chassis.streaming.event_consumer import EventConsumer
from ml_chassis.streaming.running import watch
from ml_chassis.streaming.sink import Sink
from ml_chassis.testing import Trained
from waiting import PATIENCE_SECONDS


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "Set MODEL_SERVICE_BROKER_URL"),
        ("mqtt://localhost", "give redis://, nats://, amqp:// or kafka://"),
        ("redis://127.0.0.1:1", "Does the broker run there?"),
    ],
)
def test_a_mistake_is_told_in_a_line(
    url: str,
    said: str,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODEL_SERVICE_BROKER_URL", url)
    monkeypatch.setenv("MODEL_SERVICE_MODELS_DIR", str(trained.models))
    monkeypatch.setenv("MODEL_SERVICE_DATABASE_URL", f"sqlite:///{tmp_path}/stream.db")
    monkeypatch.setenv("MODEL_SERVICE_FEEDBACK_URL", f"sqlite:///{tmp_path}/feedback.db")

    for arguments in ((), ("--labels",)):
        assert chassis("stream", *arguments) == 1

        told = capsys.readouterr().err
        assert said in told
        assert "Traceback" not in told


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("labels", "Set MODEL_SERVICE_FEEDBACK_URL to the database"),
        ("events", "MODEL_SERVICE_LABELS_TOPIC: give a topic that is none of events, "),
        ("model.dead-letters", "MODEL_SERVICE_LABELS_TOPIC: give a topic that is none of events, "),
    ],
)
def test_what_labels_need_is_told_in_a_line(
    topic: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_SERVICE_BROKER_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("MODEL_SERVICE_LABELS_TOPIC", topic)

    assert chassis("stream", "--labels") == 1

    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_examples_are_events() -> None:
    assert chassis("stream", "--example", "--labels") == 2


def test_a_new_champion_is_taken_and_a_lost_group_is_told(trained: Trained, tmp_path: Path) -> None:
    graph, manifest = registry.load(trained.models)
    facts = manifest.model_dump(exclude={"version", "created_at", "model_sha256"})
    first = registry.register(tmp_path, graph, **facts).version
    registry.promote(CONTRACT, tmp_path, first, "a test")
    scorer = Scorer(CONTRACT, 1.0, 10)
    reloader = Reloader(CONTRACT, scorer, tmp_path, "champion")
    keeper = Keeper(Settings(models_dir=tmp_path))
    stream = make_stream("redis://localhost", Topics.of("events", "model"), None)
    sink = Sink(CONTRACT, f"sqlite:///{tmp_path}/stream.db")
    consumer = EventConsumer(CONTRACT, scorer, sink, Told(), 1_000)
    lost = False

    async def is_lost() -> bool:
        return lost

    stream.lost = is_lost  # type: ignore[method-assign]

    async def run() -> str:
        nonlocal lost
        watching = asyncio.create_task(
            watch(stream, consumer, asyncio.Event(), command._beside(scorer, reloader, keeper))
        )
        second = registry.register(tmp_path, graph, **facts).version
        registry.promote(CONTRACT, tmp_path, second, "a test")
        until = time.monotonic() + PATIENCE_SECONDS
        while scorer.model.version != second and time.monotonic() < until:
            await asyncio.sleep(0.05)
        lost = True
        with pytest.raises(StreamError, match="lost the topic"):
            await watching
        return second

    assert asyncio.run(run()) == scorer.model.version
    sink.close()
