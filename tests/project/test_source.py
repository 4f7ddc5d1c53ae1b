"""The template's own Python, unrendered, is as strictly typed as what is generated from it."""

import shutil
from pathlib import Path

import pytest

from project.combinations import OPPOSITE
from project.conftest import Generate
from project.tools import Done, make, run

SOURCE = "src/model_service/training/neural_network.py"


@pytest.fixture(scope="module")
def source(
    template: Path,
    generate: Generate,
    env: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return a copy of template/ with the environment of a project beside it.

    The environment is that of the neural network, whose base classes mypy must know.
    """
    project = generate(OPPOSITE)
    make(project, env, "setup")
    copy = tmp_path_factory.mktemp("source") / "template"
    shutil.copytree(template / "template", copy)
    (copy / ".venv").symlink_to(project / ".venv")
    return copy


def mypy(source: Path, env: dict[str, str]) -> Done:
    return run(source, source / ".venv/bin/mypy", env=env)


def test_the_source_is_typed(source: Path, env: dict[str, str]) -> None:
    done = mypy(source, env)
    assert done.returncode == 0, done.stdout


def test_a_wrong_type_in_the_source_is_found(source: Path, env: dict[str, str]) -> None:
    with (source / SOURCE).open("a") as file:
        file.write('\nWRONG: int = "text"\n')
    assert f"{SOURCE}:" in mypy(source, env).stdout
