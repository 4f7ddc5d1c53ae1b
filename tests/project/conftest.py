"""Projects of chosen combinations, the environment of their tasks, and the engine they may need."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from ml_chassis import slo
from ml_chassis.monitoring.files import files
from ml_chassis.project import read
from project.combinations import DEFAULT, OPPOSITE
from project.containers import Engine, base_images, start_engine
from project.packages import Index, serve_packages
from project.tools import make
from project.workflow import commit, environment, provide_uv, share_types
from render.engines import ROOT, by_cookiecutter
from render.pairwise import Combination

Generate = Callable[[Combination], Path]
LIBRARY = ROOT / "template" / "chassis"
SECONDS = 1500  # of one test: a whole workflow, with an image, on a machine three times slower


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give these tests more time, and keep in one process those that share a project."""
    item.add_marker(pytest.mark.timeout(SECONDS))
    if item.path.stem != "test_project":  # each of it makes its own
        item.add_marker(pytest.mark.xdist_group(f"project {item.path.stem}"))


@pytest.fixture(scope="session")
def generate(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Generate:
    """Return generate(combination), which makes a project of its own each time."""

    def run(combination: Combination) -> Path:
        return by_cookiecutter(template, tmp_path_factory.mktemp("project"), **combination)

    return run


@pytest.fixture(scope="session")
def package_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Run a package index that holds the library."""
    with serve_packages(LIBRARY, tmp_path_factory.mktemp("index")) as index:
        yield index


@pytest.fixture(scope="session")
def env(
    tmp_path_factory: pytest.TempPathFactory, package_index: Index, shared: Path
) -> dict[str, str]:
    """Return the environment in which a project's own commands run."""
    cache = {"MYPY_CACHE_DIR": str(share_types())}
    tools = provide_uv(tmp_path_factory.mktemp("tools"), shared / "bytecode")
    return environment(tools, cache | package_index.env)


@pytest.fixture(scope="session")
def install(generate: Generate, env: dict[str, str]) -> Generate:
    """Return install(combination), which makes a project with its environment, all committed."""

    def run(combination: Combination) -> Path:
        project = generate(combination)
        commit(project)
        make(project, env, "setup")
        commit(project)
        return project

    return run


def loosen(project: Path) -> None:
    """State objectives that hold on a machine that other tests keep busy."""
    stated = project / "slo.yaml"
    text = stated.read_text()
    for name, value in {"latency_p50_ms": 1_000, "latency_p99_ms": 5_000}.items():
        text = re.sub(rf"(  {name}:) \d+", rf"\1 {value}", text)
    stated.write_text(re.sub(r"(  throughput_per_worker:) \d+", r"\1 20", text))
    for path, written in files(slo.read(stated), read(project).name, project).items():
        (project / path).write_text(written)


@pytest.fixture(scope="session")
def trained_project(generate: Generate, env: dict[str, str], shared: Path) -> Path:
    """Return a default project with everything installed and a trained model, all committed.

    Each process has its own, which tests leave as it was; the first to want one locks and trains,
    the others copy that.
    """
    trained = shared / "trained"
    project = generate(DEFAULT)
    with FileLock(f"{trained}.lock"):
        if not trained.exists():
            loosen(project)
            commit(project)
            make(project, env, "setup", "train")
            commit(project)
            unwanted = shutil.ignore_patterns(".venv", ".*_cache", ".bentoml")
            shutil.copytree(project, trained, ignore=unwanted)
            return project
    shutil.copytree(trained, project, dirs_exist_ok=True)
    make(project, env, "setup")
    return project


@pytest.fixture(scope="session")
def engine(generate: Generate) -> Engine:
    """Return a running container engine, or skip the test and say why there is none."""
    images: set[str] = set()
    for combination in (DEFAULT, OPPOSITE):
        dockerfile = (generate(combination) / "deploy" / "Dockerfile").read_text()
        images |= base_images(dockerfile, PYTHON_VERSION=combination["python_version"])
    try:
        return start_engine(ROOT / "tools" / "container-engine.sh", ROOT / ".containers", images)
    except RuntimeError as reason:
        # Where it must not be missed, as in our own CI, no engine is a failure.
        if os.environ.get("REQUIRE_CONTAINER_ENGINE"):
            raise
        pytest.skip(f"NO IMAGE IS TESTED: {reason}")
