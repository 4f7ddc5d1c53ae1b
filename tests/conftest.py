"""What every test shares: copies of the template, projects made from them, a clean home."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from render.engines import ENGINES, commit_all, copy_template

Render = Callable[..., Path]

LONGEST = ("test_image", "test_tasks", "test_adopt", "test_project")
"""Of tests/project; each but the last is done by one process."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process waits for another at the end."""

    def place(item: pytest.Item) -> int:
        if item.path.parent.name == "project":
            return LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)
        return len(LONGEST) + (1 if item.get_closest_marker("slow") else 2)

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _clean_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the engines' clones, replays and caches out of the developer's home."""
    home = tmp_path_factory.mktemp("home")
    config = home / "cookiecutter.yml"
    config.write_text(f"cookiecutters_dir: {home}/clones\nreplay_dir: {home}/replay\n")
    os.environ["COOKIECUTTER_CONFIG"] = str(config)
    os.environ["COPIER_CACHE_DIR"] = str(home / "copier")
    settings = home / "copier-settings.yml"
    settings.write_text("{}\n")
    os.environ["COPIER_SETTINGS_PATH"] = str(settings)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of this run of the tests, for all of its processes."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template as a folder without history: the fastest source for both engines."""
    return copy_template(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def repository(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template as a repository, working tree committed and tagged v1.0.0."""
    folder = tmp_path_factory.mktemp("repository") / "source"
    shutil.copytree(template, folder, symlinks=True)
    commit_all(folder, "v1.0.0")
    return folder


@pytest.fixture(scope="session")
def render(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Return render(engine, **answers), which makes each project once; do not change it."""
    made: dict[tuple[object, ...], Path] = {}

    def run(engine: str, **answers: str) -> Path:
        key = (engine, *sorted(answers.items()))
        if key not in made:
            made[key] = ENGINES[engine](template, tmp_path_factory.mktemp("out"), **answers)
        return made[key]

    return run
