"""A project that takes the library from a package index: installed, served, upgraded."""

import shutil
from pathlib import Path

import pytest

from project.combinations import DEFAULT
from project.conftest import LIBRARY, Generate
from project.packages import Index
from project.service import make_serve
from project.tools import make, run
from project.workflow import commit

RELEASED, NEXT = 'version = "0.2.0"', 'version = "0.2.1"'


@pytest.fixture(scope="module")
def project(generate: Generate, env: dict[str, str], trained_project: Path) -> Path:
    """Return a project whose library comes from the index, with a model."""
    project = generate({**DEFAULT, "chassis": "index"})
    commit(project)
    make(project, env, "setup")
    shutil.copytree(trained_project / "models", project / "models")
    return project


def version(project: Path) -> str:
    """Return the version of the library in the project's environment."""
    return run(project, ".venv/bin/chassis", "--version").stdout.split()[-1]


def test_a_raised_version_is_an_upgrade(
    project: Path, env: dict[str, str], package_index: Index, tmp_path: Path
) -> None:
    assert "registry = " in (project / "uv.lock").read_text().partition("ml-service-chassis")[2]
    assert version(project) == "0.2.0"
    later = shutil.copytree(LIBRARY, tmp_path / "later", ignore=shutil.ignore_patterns(".*"))
    pyproject = later / "pyproject.toml"
    assert RELEASED in pyproject.read_text()
    pyproject.write_text(pyproject.read_text().replace(RELEASED, NEXT))
    package_index.publish(later)

    make(project, env, "lock", "setup")

    assert version(project) == "0.2.1"
    with make_serve(project, env) as running:
        service = running.service
        assert service.predict([service.example_row()]).status == 200
