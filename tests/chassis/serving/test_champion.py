"""Which model a running service answers with, when models come, go and break."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chassis.flights import CONTRACT
from ml_chassis import registry
from ml_chassis.serving import champion
from ml_chassis.serving.champion import Reloader
from ml_chassis.serving.scoring import Model, Scorer
from ml_chassis.storage import Root
from ml_chassis.testing import Service, Trained, start_service
from waiting import wait_for

example_row = CONTRACT.example_row

pytestmark = pytest.mark.slow

BODY = {"rows": [example_row()]}


def copy(models: Root, trained: Trained, graph: bytes | None = None) -> str:
    """Register the trained model once more, or another graph with its facts."""
    trained_graph, manifest = registry.load(trained.models)
    facts = manifest.model_dump(exclude={"version", "created_at", "model_sha256"})
    return registry.register(models, graph or trained_graph, **facts).version


def tamper(models: Path, version: str) -> None:
    (models / version / registry.MODEL_FILE).write_bytes(b"changed")


def predict(service: Service) -> dict[str, Any]:
    answer = httpx.post(f"{service.url}/predict", json=BODY).raise_for_status()
    content: dict[str, Any] = answer.json()
    assert answer.headers.get("degraded") == content.get("degraded")
    return content


@pytest.fixture
def models(tmp_path: Path, trained: Trained) -> Path:
    registry.promote(CONTRACT, tmp_path / "models", copy(tmp_path / "models", trained), "first")
    return tmp_path / "models"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Path], Service]]:
    started: list[Service] = []

    def run(models: Path) -> Service:
        started.append(start_service(models, tmp_path, MODEL_SERVICE_WORKERS="2"))
        return started[-1]

    yield run
    for service in started:
        service.process.terminate()
        assert service.process.wait(timeout=30) == 0


def test_a_promoted_model_is_taken_and_given_back_without_losing_a_request(
    models: Path, trained: Trained, start: Callable[[Path], Service]
) -> None:
    service = start(models)
    first = predict(service)["model_version"]
    stop, seen, failures = threading.Event(), set(), []

    def ask() -> None:
        with httpx.Client(base_url=service.url) as client:
            while not stop.is_set():
                answer = client.post("/predict", json=BODY)
                seen.add(answer.json().get("model_version"))
                if answer.status_code != 200 or "degraded" in answer.json():
                    failures.append(answer.text)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    second = copy(models, trained)
    registry.promote(CONTRACT, models, second, "newer")
    wait_for(lambda: second in seen)
    wait_for(lambda: all(predict(service)["model_version"] == second for _ in range(8)))
    registry.rollback(CONTRACT, models, "worse")
    wait_for(lambda: all(predict(service)["model_version"] == first for _ in range(8)))
    stop.set()
    for client in clients:
        client.join()

    assert failures == []
    assert seen == {first, second}


@pytest.fixture
def scorer() -> Scorer:
    return Scorer(CONTRACT, 1, 1)


@pytest.fixture
def reloader(models: Path, scorer: Scorer) -> Reloader:
    """Return what a worker asks every second; it has loaded a model."""
    return Reloader(CONTRACT, scorer, models, "champion")


def test_a_damaged_promotion_changes_nothing(
    models: Path, trained: Trained, scorer: Scorer, reloader: Reloader
) -> None:
    good = scorer.model.version
    registry.promote(CONTRACT, models, copy(models, trained, b"no graph"), "newer")

    asyncio.run(reloader.check())

    assert scorer.model.version == good
    assert scorer.model.predictor


def test_an_alias_that_names_only_a_damaged_version_changes_nothing(
    models: Path, trained: Trained, scorer: Scorer, reloader: Reloader
) -> None:
    good = scorer.model
    bad = copy(models, trained)
    tamper(models, bad)
    now = registry.changes(models)[0].model_copy(update={"version": bad, "before": []})
    (models / "champion").write_text(now.model_dump_json())

    asyncio.run(reloader.check())

    assert scorer.model is good


def test_files_that_cannot_be_read_for_a_while_are_read_later(
    models: Path,
    trained: Trained,
    scorer: Scorer,
    reloader: Reloader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new = copy(models, trained)
    registry.promote(CONTRACT, models, new, "newer")

    def fail(*_: object) -> Model:
        raise OSError("stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(champion, "load", fail)
        asyncio.run(reloader.check())
        assert scorer.model.version != new
    asyncio.run(reloader.check())
    assert scorer.model.version == new


def test_a_worker_that_starts_with_a_damaged_champion_serves_the_one_before(
    models: Path, trained: Trained, scorer: Scorer
) -> None:
    good = registry.history(models)[0]
    bad = copy(models, trained)
    registry.promote(CONTRACT, models, bad, "newer")
    tamper(models, bad)

    Reloader(CONTRACT, scorer, models, "champion")

    assert scorer.model.version == good
    assert scorer.model.predictor


def test_a_service_whose_only_model_is_damaged_answers_with_the_fallback(
    models: Path, trained: Trained, start: Callable[[Path], Service]
) -> None:
    only = registry.history(models)[0]
    tamper(models, only)

    answer = predict(start(models))

    assert answer["degraded"] == "no_model"
    assert answer["model_version"] == only
    fallback = trained.manifest.fallback
    assert fallback
    assert 0 < answer["predictions"][0] < 1
