"""A project born with either engine receives the template's next version by `copier update`."""

import shutil
from pathlib import Path

import copier
import pytest
import yaml

from render.engines import ENGINES, commit_all, differences, git

pytestmark = pytest.mark.slow


@pytest.fixture
def source(repository: Path, tmp_path: Path) -> Path:
    """Return a clone of the template that a test may develop further."""
    folder = tmp_path / "source"
    git(tmp_path, "clone", "--quiet", str(repository), str(folder))
    return folder


def test_update_keeps_edits_and_brings_changes(source: Path, tmp_path: Path) -> None:
    projects = [generate(source, tmp_path / name) for name, generate in ENGINES.items()]
    for project in projects:
        edit(project)
    release_next_version(source)
    for project in projects:
        copier.run_update(project, defaults=True, overwrite=True, quiet=True)
        assert_updated(project)
        shutil.rmtree(project / ".git")
    assert differences(*projects) == []


def edit(project: Path) -> None:
    """Do what a team does: change a file, delete one, add one, commit."""
    with (project / "src/model_service/schema.py").open("a") as file:
        file.write("\n# Ours.\n")
    (project / "data/README.md").unlink()
    (project / "ours.txt").write_text("ours\n")
    commit_all(project, "ours")


def release_next_version(source: Path) -> None:
    """Do what we do: change a file, ask something new, tag."""
    with (source / "template/LICENSE").open("a") as file:
        file.write("\n{{= cookiecutter.greeting =}}\n")
    questions = (source / "copier.yml").read_text(encoding="utf-8")
    greeting = 'greeting:\n  type: str\n  help: A greeting\n  default: "hello"\n\n'
    changed = questions.replace("name_q:\n", f"{greeting}name_q:\n", 1)
    (source / "copier.yml").write_text(changed, encoding="utf-8")
    commit_all(source, "v2.0.0")


def assert_updated(project: Path) -> None:
    """Expect what is new from the template beside what is the team's."""
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert answers["_commit"] == "v2.0.0"
    assert answers["greeting"] == "hello"
    assert (project / "LICENSE").read_text().endswith("\nhello\n")
    assert (project / "src/model_service/schema.py").read_text().endswith("# Ours.\n")
    assert not (project / "data/README.md").exists()
    assert (project / "ours.txt").read_text() == "ours\n"


def test_where_the_library_comes_from_can_be_changed_later(source: Path, tmp_path: Path) -> None:
    project, other = (generate(source, tmp_path / name) for name, generate in ENGINES.items())
    assert differences(project, other) == []  # what is done to one does the same to the other
    edit(project)
    before = (project / "pyproject.toml").read_text()

    change_answer(project, chassis="index")
    assert not (project / "chassis").exists()
    assert "tool.uv.sources" not in (project / "pyproject.toml").read_text()
    commit_all(project, "index")

    change_answer(project, chassis="vendored")
    assert (project / "pyproject.toml").read_text() == before
    assert differences(project / "chassis", source / "template" / "chassis") == []
    assert (project / "src/model_service/schema.py").read_text().endswith("# Ours.\n")


def change_answer(project: Path, **answers: str) -> None:
    """Do what `copier update --defaults --data NAME=VALUE` does."""
    copier.run_update(project, data=answers, defaults=True, overwrite=True, quiet=True)
