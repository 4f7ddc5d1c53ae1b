"""A service whose registry is in object storage serves what is named there, and goes on without."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from chassis.flights import CONTRACT
from chassis.object_storage import Storage, running
from chassis.serving.test_champion import copy, predict
from ml_chassis import registry, storage
from ml_chassis.registry import MODEL_FILE, RegistryError
from ml_chassis.serving import follow
from ml_chassis.serving.follow import bring, folder_of, prepare
from ml_chassis.settings import Settings
from ml_chassis.testing import SERVE, Service, Trained, is_ready, start_service
from waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[Storage]:
    """Run a server of one test's own, which stops it."""
    with running() as server:
        yield server


@pytest.fixture
def url(server: Storage, trained: Trained) -> str:
    """Return a registry with one champion."""
    url = server.new_bucket()
    registry.promote(CONTRACT, url, copy(url, trained), "first")
    return url


@pytest.fixture
def settings(url: str, tmp_path: Path) -> Settings:
    return Settings(models_dir=url, cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Settings], Service]]:
    started: list[Service] = []

    def run(settings: Settings) -> Service:
        given = {"CACHE_DIR": settings.cache_dir, "POLL_SECONDS": "1", "WORKERS": "2"}
        given = {f"MODEL_SERVICE_{name}": value for name, value in given.items()}
        started.append(start_service(settings.models_dir, tmp_path, SERVE, None, **given))
        return started[-1]

    yield run
    for service in started:
        service.process.terminate()
        assert service.process.wait(timeout=30) == 0


def processes(service: Service, following: bool) -> dict[int, psutil.Process]:
    """Return its workers, or the process that asks storage, by their ids."""
    found = {}
    for each in psutil.Process(service.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # zombies are such, too
            if ("ml_chassis.serving.follow" in each.cmdline()) == following:
                found[each.pid] = each
    return found


def facts_of(trained: Trained) -> dict[str, Any]:
    return trained.manifest.model_dump(exclude={"version", "created_at", "model_sha256"})


def damage(url: str, version: str) -> None:
    storage.write(url, f"{version}/{MODEL_FILE}", b"changed")


def test_what_is_named_in_storage_is_served_unless_it_was_changed_and_storage_may_go_away(
    url: str,
    server: Storage,
    settings: Settings,
    trained: Trained,
    start: Callable[[Settings], Service],
) -> None:
    service = start(settings)
    first = registry.history(url)[0]
    assert predict(service)["model_version"] == first

    wait_for(lambda: len(processes(service, following=True)) == 1)
    (asking,) = processes(service, following=True).values()
    asking.kill()
    second = registry.register(url, registry.load(url)[0], **facts_of(trained)).version
    assert second != first
    registry.promote(CONTRACT, url, second, "newer")
    wait_for(lambda: all(predict(service)["model_version"] == second for _ in range(8)))

    bad = registry.register(url, b"no graph", **facts_of(trained)).version
    registry.promote(CONTRACT, url, bad, "newer still")
    damage(url, bad)
    wait_for(lambda: registry.history(folder_of(settings))[0] == bad)
    time.sleep(2)  # longer than workers take to look for another model
    assert {predict(service)["model_version"] for _ in range(8)} == {second}
    assert "degraded" not in predict(service)

    server.stop()
    workers = processes(service, following=False)
    killed = min(workers)
    workers[killed].kill()
    wait_for(lambda: processes(service, following=False).keys() - workers.keys() != set())
    wait_for(lambda: is_ready(service))
    assert {predict(service)["model_version"] for _ in range(8)} == {second}


def test_a_damaged_champion_is_brought_with_the_one_before(
    url: str, tmp_path: Path, trained: Trained
) -> None:
    good = registry.history(url)[0]
    bad = registry.register(url, b"no graph", **facts_of(trained)).version
    registry.promote(CONTRACT, url, bad, "newer")
    damage(url, bad)

    bring(url, "champion", tmp_path)

    assert registry.history(tmp_path) == [bad, good]
    assert registry.load(tmp_path, good) == registry.load(url, good)
    with pytest.raises(RegistryError, match="changed after it was registered"):
        registry.load(tmp_path, bad)


def test_a_model_is_brought_once(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(url, "champion", tmp_path)
    monkeypatch.setattr(follow, "_download", None)

    bring(url, "champion", tmp_path)


def test_a_service_starts_with_what_it_has_when_storage_is_down(
    url: str, server: Storage, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(settings)
    folder.mkdir(mode=0o700, parents=True)
    bring(url, settings.alias, folder)
    champion = registry.history(url)
    server.stop()

    with caplog.at_level(logging.ERROR):
        assert registry.history(prepare(settings)) == champion
    assert "what was brought before is served" in caplog.text
    shutil.rmtree(folder)
    with pytest.raises(RegistryError, match="cannot be reached"):
        prepare(settings)


def test_a_volume_that_others_may_change_holds_a_folder_of_ours(settings: Settings) -> None:
    volume = Path(settings.cache_dir)
    volume.mkdir()
    os.chmod(volume, 0o2777)  # noqa: S103, PTH101 - as volumes are mounted

    folder = prepare(settings)

    assert registry.history(folder)
    for each in (folder, folder.parent):
        assert each.stat().st_mode & 0o777 == 0o700
    assert folder.parent.parent == volume


def test_a_folder_that_others_may_change_is_refused(settings: Settings) -> None:
    folder = folder_of(settings)
    folder.mkdir(parents=True)
    os.chmod(folder.parent, 0o777)  # noqa: S103, PTH101 - the mistake

    with pytest.raises(RegistryError, match="MODEL_SERVICE_CACHE_DIR"):
        prepare(settings)
