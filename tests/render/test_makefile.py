"""What the tasks pass on: what is said after `make`, as it is said, and nothing else."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from conftest import Render
from render.engines import git
from waiting import wait_for

UV = """#!/bin/sh
# Tells what it is given.
printf '<%s>' "$@" "UV_PROJECT_ENVIRONMENT=$UV_PROJECT_ENVIRONMENT" "$MODEL_SERVICE_DATABASE_URL"
printf '<labels %s>' "$MODEL_SERVICE_FEEDBACK_URL"
"""
NAMES = (
    *("DATA", "DO", "IMAGE", "INPUT", "OUTPUT", "SECONDS", "SHARE", "TARGET", "TIME", "URL"),
    "VERSION",
)
TASKS = {
    "adopt": 3,
    "canary": 3,
    "experiment": 2,
    "promote": 1,
    "score": 3,
    "load": 2,
    "observe": 1,
    "shadow": 3,
    "up": 1,
}


@pytest.fixture
def project(render: Render, tmp_path: Path) -> Path:
    """Return a project, in a folder whose name has a space, and one of a program beside it."""
    made = shutil.copytree(render("cookiecutter"), tmp_path / "my projects" / "one")
    (made / ".venv").mkdir()
    uv = tmp_path / "my tools" / "uv"
    uv.parent.mkdir()
    uv.write_text(UV)
    uv.chmod(0o755)
    return made


def make(project: Path, *arguments: str, **variables: str) -> str:
    """Run make and return what it and the program said."""
    path = f"{project.parent.parent / 'my tools'}:{os.environ['PATH']}"
    ours = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "UV"}
    env = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        ["make", *arguments],
        cwd=project,
        env={**env, "PATH": path, **variables},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.parametrize("given", ['"; touch made; "', "a$(shell touch made)$b$$c", "`touch made`"])
def test_what_is_said_is_passed_on_as_it_is(project: Path, given: str) -> None:
    variables = [f"{each}={given}" for each in NAMES]
    for task, count in TASKS.items():
        assert make(project, task, *variables, "WHY=tried").count(f"<{given}>") == count
    assert not (project / "made").exists()


def test_what_the_environment_holds_is_not_passed_on(project: Path) -> None:
    variables = dict.fromkeys(
        (*NAMES, "ACCEPT", "ALIAS", "APPLY", "DEMO", "EXAMPLE", "LABELS", "REPLAY"), "other"
    )
    for task in (*TASKS, "contract", "data", "retrain", "stream", "tune"):
        assert "other" not in make(project, task, **variables)
    assert "other" not in make(project, "load", SECONDS="other")


def test_no_is_no(project: Path) -> None:
    for task, name in (
        *(("contract", "ACCEPT"), ("data", "REPLAY")),
        *(("observe", "DEMO"), ("stream", "LABELS"), ("tune", "APPLY")),
    ):
        assert f"--{name.lower()}" in make(project, task, f"{name}=yes")
        assert f"--{name.lower()}" not in make(project, task, f"{name}=no")


def test_a_dry_run_runs_nothing(project: Path) -> None:
    said = make(project, "--dry-run", "image", MODEL_SERVICE_MODELS_DIR="s3://bucket/models")

    assert "chassis export models" in said
    assert "<export>" not in said


def test_the_environment_is_in_the_folder_of_the_project(project: Path) -> None:
    assert "<UV_PROJECT_ENVIRONMENT=>" in make(project, "setup", UV_PROJECT_ENVIRONMENT="/else")


def test_a_dollar_in_a_password_stays(project: Path) -> None:
    url = "postgresql://me:pa$$w$(x)${y}@localhost/db"
    assert f"<{url}>" in make(project, "data", MODEL_SERVICE_DATABASE_URL=url)


@pytest.mark.parametrize("task", ["serve", "stream", "feedback"])
def test_labels_are_kept_in_a_file_unless_another_place_or_none_is_said(
    project: Path, task: str
) -> None:
    url = "postgresql://me:pa$$w$(x)${y}@localhost/db"
    assert "<labels sqlite:///data/feedback.db>" in make(project, task)
    assert f"<labels {url}>" in make(project, task, MODEL_SERVICE_FEEDBACK_URL=url)
    assert "<labels >" in make(project, task, MODEL_SERVICE_FEEDBACK_URL="")
    assert "<labels >" in make(project, task, "MODEL_SERVICE_FEEDBACK_URL=")


def test_a_load_test_keeps_no_labels(project: Path) -> None:
    assert "<labels >" in make(project, "load")


def test_a_program_in_a_path_with_a_space_is_sent_the_signals(project: Path) -> None:
    uv = project.parent.parent / "my tools" / "uv"
    uv.write_text(
        "#!/bin/sh\ntrap 'echo ended > ended; exit 0' TERM\ntouch begun\n"
        "while :; do sleep 0.1; done\n"
    )
    env = {**os.environ, "PATH": f"{uv.parent}:{os.environ['PATH']}"}
    with subprocess.Popen(["make", "serve"], cwd=project, env=env) as running:
        wait_for((project / "begun").exists)
        running.send_signal(signal.SIGTERM)
    assert (project / "ended").read_text() == "ended\n"


def test_the_branch_of_the_first_commit_is_the_one_that_ci_runs_on(project: Path) -> None:
    readme = (project / "README.md").read_text()
    (line,) = (each for each in readme.splitlines() if each.startswith("git init"))
    command, *_ = line.split(" && ")
    subprocess.run(command.split(), cwd=project, check=True, capture_output=True)
    assert (
        f"branches: [{git(project, 'symbolic-ref', '--short', 'HEAD').strip()}]"
        in (project / ".github" / "workflows" / "ci.yml").read_text()
    )
