"""The command: what it says when it cannot start, and what it does beside the messages."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from model_service import registry
from model_service.serving.champion import Reloader
from model_service.serving.follow import Keeper
from model_service.serving.scoring import Scorer
from model_service.settings import Settings
from model_service.streaming import StreamError, __main__
from model_service.streaming.brokers import Topics, make_stream
from model_service.streaming.consumer import Counts
from tests.conftest import Trained


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
    monkeypatch.setattr(sys, "argv", ["streaming"])
    monkeypatch.setenv("MODEL_SERVICE_BROKER_URL", url)
    monkeypatch.setenv("MODEL_SERVICE_MODELS_DIR", str(trained.models))
    monkeypatch.setenv("MODEL_SERVICE_DATABASE_URL", f"sqlite:///{tmp_path}/stream.db")

    assert __main__.main() == 1

    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_a_new_champion_is_taken_and_a_lost_group_is_told(trained: Trained, tmp_path: Path) -> None:
    graph, manifest = registry.load(trained.models)
    facts = manifest.model_dump(exclude={"version", "created_at", "model_sha256"})
    first = registry.register(tmp_path, graph, **facts).version
    registry.promote(tmp_path, first, "a test")
    scorer = Scorer(1.0, 10)
    reloader = Reloader(scorer, tmp_path, "champion")
    keeper = Keeper(Settings(models_dir=tmp_path))
    stream = make_stream("redis://localhost", Topics.of("events", "model"), None)
    lost = False

    async def is_lost() -> bool:
        return lost

    stream.lost = is_lost  # type: ignore[method-assign]

    async def run() -> str:
        nonlocal lost
        watch = asyncio.create_task(
            __main__._watch(stream, scorer, reloader, keeper, Counts(), asyncio.Event())
        )
        while (second := registry.register(tmp_path, graph, **facts).version) == first:
            await asyncio.sleep(0.1)  # versions are named by the second
        registry.promote(tmp_path, second, "a test")
        until = time.monotonic() + 30
        while scorer.model.version != second and time.monotonic() < until:
            await asyncio.sleep(0.05)
        lost = True
        with pytest.raises(StreamError, match="lost the topic"):
            await watch
        return second

    assert asyncio.run(run()) == scorer.model.version
