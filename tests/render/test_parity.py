"""Both engines write the same project, every time, for every combination of choices."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter

from render.engines import EACH_COMBINATION, ENGINES, Answers, differences, git, snapshot
from render.files import expected, files_in

Render = Callable[..., Path]


@pytest.mark.parametrize("answers", EACH_COMBINATION)
def test_both_engines_write_the_same(render: Render, answers: Answers) -> None:
    one, other = (render(engine, **answers) for engine in ENGINES)
    assert differences(one, other) == []


@pytest.mark.parametrize("answers", EACH_COMBINATION)
def test_files_are_those_written_down(render: Render, answers: Answers) -> None:
    written, wanted = files_in(render("cookiecutter", **answers)), expected(answers)
    assert sorted(written - wanted) == [], "new: check, then run python tests/render/files.py"
    assert sorted(wanted - written) == [], "gone: check, then run python tests/render/files.py"


def test_defaults_are_the_same(render: Render) -> None:
    assert differences(render("cookiecutter"), render("copier")) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_same_answers_give_the_same_bytes(
    template: Path, render: Render, tmp_path: Path, engine: str
) -> None:
    assert differences(render(engine), ENGINES[engine](template, tmp_path)) == []


@pytest.mark.slow
def test_documented_commands_need_only_the_engine_and_git(repository: Path, tmp_path: Path) -> None:
    """From a clone: offline, without uv or Docker, with any hash seed."""
    projects = [tmp_path / engine / seed / "flight-delays" for engine in ENGINES for seed in "12"]
    for project in projects:
        project.parent.mkdir(parents=True)
        run_command(project.parts[-3], repository, project)
    first, *others = projects
    assert [differences(first, other) for other in others] == [[], [], []]
    assert f'_src_path: "{repository}"' in (first / ".copier-answers.yml").read_text()


def run_command(engine: str, repository: Path, project: Path) -> None:
    """Run the documented command inside the repository with little more than git around it."""
    commands = {
        "cookiecutter": ["cookiecutter", ".", "--no-input", "-o", str(project.parent)],
        "copier": ["copier", "copy", "--defaults", ".", str(project)],
    }
    environment = {
        name: value for name, value in os.environ.items() if name.startswith(("COPIER", "COOKIE"))
    }
    environment |= {
        "PATH": str(folder_of_programs(project.parent)),
        "PYTHONHASHSEED": project.parent.name,
        "https_proxy": "http://127.0.0.1:9",
        "GIT_ALLOW_PROTOCOL": "file",
    }
    subprocess.run(
        [sys.executable, "-m", *commands[engine]],
        cwd=repository,
        env=environment,
        check=True,
        capture_output=True,
    )


def folder_of_programs(parent: Path) -> Path:
    """Return a folder with git, the programs that git itself calls, and no other."""
    folder = parent / "bin"
    folder.mkdir()
    for name in ("git", "sh", "sed", "basename", "uname"):
        (folder / name).symlink_to(shutil.which(name) or name)
    return folder


def test_a_repository_address_works_for_both(repository: Path, tmp_path: Path) -> None:
    address = f"git+{repository.as_uri()}"
    one, other = (run(address, tmp_path / name) for name, run in ENGINES.items())
    assert differences(one, other) == []
    assert '_commit: "v1.0.0"' in (one / ".copier-answers.yml").read_text()


def test_an_extracted_archive_works_for_both(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "extracted"
    folder.mkdir()
    git(repository, "archive", "--output", str(tmp_path / "t.tar"), "HEAD")
    subprocess.run(["tar", "-xf", str(tmp_path / "t.tar")], cwd=folder, check=True)
    one, other = (run(folder, tmp_path / name) for name, run in ENGINES.items())
    assert differences(one, other) == []


def test_a_zip_works_for_cookiecutter(repository: Path, render: Render, tmp_path: Path) -> None:
    """Zip has no symbolic links and loses the run bit; the version stands in .git_archival.txt."""
    archive = tmp_path / "template.zip"
    git(repository, "archive", "--prefix=template/", "--output", str(archive), "HEAD")
    project = ENGINES["cookiecutter"](archive, tmp_path / "out")
    assert differences(project, render("copier")) == ["other content: .copier-answers.yml"]
    assert '_commit: "v1.0.0"' in (project / ".copier-answers.yml").read_text()


@pytest.mark.parametrize("engine", ENGINES)
def test_leftovers_of_work_inside_the_template_are_dropped(
    template: Path, render: Render, tmp_path: Path, engine: str
) -> None:
    source = tmp_path / "source"
    subprocess.run(["cp", "-a", str(template), str(source)], check=True)
    for name in ("src/__pycache__/a.pyc", ".venv/x.py", ".ruff_cache/x", "models/m", "uv.lock"):
        leftover = source / "template" / name
        leftover.parent.mkdir(exist_ok=True)
        leftover.write_text("{{= broken")
    problems = differences(render(engine), ENGINES[engine](source, tmp_path / "out"))
    assert problems == ["other content: .copier-answers.yml"], "only the template's address differs"


def over(template: Path, out: Path, **answers: str) -> None:
    """Generate with Cookiecutter over what is there."""
    cookiecutter(
        str(template),
        no_input=True,
        extra_context=answers,
        output_dir=str(out),
        overwrite_if_exists=True,
    )


def test_cookiecutter_over_a_project_keeps_what_the_team_has(
    template: Path, tmp_path: Path
) -> None:
    project = ENGINES["cookiecutter"](template, tmp_path)
    for name in (".venv/ours", "models/ours", ".git/ours"):
        (project / name).parent.mkdir()
        (project / name).write_text("ours")
    over(template, tmp_path)
    assert sorted(path.name for path in project.rglob("ours")) == ["ours"] * 3


def test_cookiecutter_over_a_project_keeps_what_an_answer_does_not_bring(
    template: Path, tmp_path: Path
) -> None:
    answers = {"license": "Proprietary", "platform": "single_host"}
    project = ENGINES["cookiecutter"](template, tmp_path, **answers)
    fresh = snapshot(project)
    ours = {"LICENSE": "ours", "deploy/kubernetes/prod.yaml": "ours"}
    for name, content in ours.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(content)

    over(template, tmp_path, **answers)

    assert {name: (project / name).read_text() for name in ours} == ours
    assert snapshot(project).keys() == fresh.keys() | ours.keys() | {"deploy/kubernetes"}


def test_what_is_kept_survives_a_failure_and_links_are_not_written_through(
    template: Path, tmp_path: Path
) -> None:
    answers = {"license": "Proprietary", "platform": "single_host"}
    project, far = ENGINES["cookiecutter"](template, tmp_path, **answers), tmp_path / "far"
    far.write_text("ours")
    (project / "LICENSE").symlink_to(far)
    slo = project / "slo.yaml"
    slo.unlink()
    slo.symlink_to(tmp_path / "nowhere" / "x")

    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            over(template, tmp_path, **answers)
    slo.unlink()
    over(template, tmp_path, **answers)

    assert (project / "LICENSE").readlink() == far
    assert far.read_text() == "ours"
    assert not (project / ".kept-by-cookiecutter").exists()


def test_edited_answers_are_not_replayed(
    template: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"replay_dir: {tmp_path}/replay\n")
    answers, again = {"project_name": "Late Trains"}, {"no_input": False, "replay": True}
    given = {"template": str(template), "config_file": str(config)}
    first = cookiecutter(
        **given, no_input=True, extra_context=answers, output_dir=str(tmp_path / "a")
    )
    second = cookiecutter(**given, **again, output_dir=str(tmp_path / "b"))
    assert differences(Path(first), Path(second)) == []

    (recorded,) = (tmp_path / "replay").iterdir()
    content = json.loads(recorded.read_text())
    content["cookiecutter"]["project_name"] = "Early Trains"
    recorded.write_text(json.dumps(content))
    with pytest.raises(FailedHookException):
        cookiecutter(**given, **again, output_dir=str(tmp_path / "c"))
    assert "The recorded answers were edited" in capfd.readouterr().err
    assert not list((tmp_path / "c").rglob("*"))


@pytest.mark.parametrize(
    "command",
    [
        ("cookiecutter", "--no-input", "--output-dir=.", "{address}"),
        ("copier", "copy", "--defaults", "--quiet", "{address}", "flight-delays"),
    ],
    ids=ENGINES,
)
def test_a_password_in_the_address_is_not_recorded(
    repository: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    address = "https://somebody:secret@git.example/template.git"
    redirection = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository}.insteadOf",
        "GIT_CONFIG_VALUE_0": address,
    }
    subprocess.run(
        [sys.executable, "-m", *(part.format(address=address) for part in command)],
        cwd=tmp_path,
        env={**os.environ, **redirection, "HOME": str(tmp_path)},
        check=True,
    )

    project = tmp_path / "flight-delays"
    recorded = (project / ".copier-answers.yml").read_text()
    assert '_src_path: "https://git.example/template.git"' in recorded
    assert not any(b"secret@" in path.read_bytes() for path in project.rglob("*") if path.is_file())
