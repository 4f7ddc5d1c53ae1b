"""The tasks of a generated project that its workflow does not run, and tasks out of order."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from project.combinations import DEFAULT
from project.conftest import Generate
from project.containers import Engine, with_engine
from project.service import free_port, make_serve
from project.tools import make, run
from project.workflow import commands, commit, read_workflow
from render.engines import git

# They share one project, which the tests in between leave as it was.
pytestmark = pytest.mark.xdist_group("tasks")


@pytest.fixture(scope="module")
def project(generate: Generate, env: dict[str, str]) -> Path:
    """Return a project with everything installed and a trained model, all of it committed."""
    project = generate(DEFAULT)
    commit(project)
    make(project, env, "setup", "train")
    commit(project)
    return project


@pytest.mark.parametrize(
    ("given", "port"),
    [({}, "3000"), ({"PORT": "4000"}, "4000"), ({"MODEL_SERVICE_PORT": "5000"}, "5000")],
    ids=["default", "PORT", "MODEL_SERVICE_PORT"],
)
def test_the_port_may_be_given(
    project: Path, env: dict[str, str], given: dict[str, str], port: str
) -> None:
    assert f"http://localhost:{port}" in make(project, {**env, **given}, "--dry-run", "predict")


@pytest.mark.parametrize("task", ["train", "serve", "test"])
def test_a_task_before_setup_says_what_to_do(
    generate: Generate, env: dict[str, str], task: str
) -> None:
    done = run(generate(DEFAULT), "make", task, env=env)
    assert done.returncode != 0
    assert "Run: make setup" in done.stdout


def test_the_help_names_every_task(project: Path, env: dict[str, str]) -> None:
    documented = re.findall(r"^(\w+):.*## ", (project / "Makefile").read_text(), re.MULTILINE)
    listed = [line.split()[0] for line in make(project, env, "help").splitlines()]
    assert listed == documented
    assert make(project, env) == make(project, env, "help")


def test_check_is_what_the_workflow_runs(project: Path) -> None:
    makefile = (project / "Makefile").read_text()
    pattern = r"^check: ([^#]*)##.*\n.*\$\(MAKE\) (.*?);"
    (tasks,) = re.findall(pattern, makefile, re.MULTILINE)
    checked = [f"make {task}" for part in tasks for task in part.split()]
    workflow = read_workflow(project / ".github" / "workflows" / "ci.yml")
    ran = list(commands(workflow).values())
    assert [line for line in ran if line not in {"make setup", "make train"}] == checked


def test_check_without_docker_says_what_is_skipped(project: Path, env: dict[str, str]) -> None:
    # The workflow has executed lint and test: make is told that they are done.
    nowhere = {**env, "DOCKER_HOST": "unix:///nowhere"}
    said = make(project, nowhere, "--old-file=lint", "--old-file=test", "check")
    assert said.startswith("SKIPPED: image and smoke")


def test_generated_pages_style_and_lock_are_current(project: Path, env: dict[str, str]) -> None:
    make(project, env, "docs", "format", "setup")
    assert git(project, "status", "--porcelain") == ""


def test_the_example_row_is_predicted(project: Path, env: dict[str, str]) -> None:
    with make_serve(project, env) as running:
        port = running.service.address.rpartition(":")[2]
        assert '"predictions":[0.' in make(project, {**env, "PORT": port}, "predict")


def test_predicting_without_a_service_says_what_to_do(project: Path, env: dict[str, str]) -> None:
    done = run(project, "make", "predict", env={**env, "PORT": str(free_port())})
    assert done.returncode != 0
    assert "Start it: make serve" in done.stdout
    assert "Traceback" not in done.stdout


def test_the_hooks_stop_a_bad_commit(project: Path, env: dict[str, str]) -> None:
    make(project, env, "hooks")
    bad = project / "src" / "model_service" / "bad.py"
    bad.write_text('"""A value of the wrong type."""\n\nvalue: int = "text"\n')
    try:
        git(project, "add", "--all")
        with pytest.raises(subprocess.CalledProcessError) as refused:
            git(project, "commit", "--message", "Bad")
        assert "Incompatible types in assignment" in refused.value.stdout + refused.value.stderr
    finally:
        git(project, "rm", "--quiet", "--force", str(bad))
        (project / ".git" / "hooks" / "pre-commit").unlink()


def test_lock_and_clean_keep_what_was_trained(generate: Generate, env: dict[str, str]) -> None:
    project = generate(DEFAULT)
    make(project, env, "lock")
    assert (project / "uv.lock").exists()
    (project / "models").mkdir()
    (project / ".venv").mkdir()
    make(project, env, "clean")
    assert (project / "models").exists()
    assert not (project / ".venv").exists()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Run a registry on this machine and yield its address."""
    if not shutil.which("apt-get"):
        pytest.skip("PINNING IS NOT TESTED: the registry comes from Debian's packages")
    subprocess.run(["apt-get", "download", "docker-registry"], cwd=tmp_path, check=True)
    (package,) = tmp_path.glob("*.deb")
    subprocess.run(["dpkg", "-x", str(package), str(tmp_path)], check=True)
    port = free_port()
    config = tmp_path / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/stored}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n"
    )
    process = subprocess.Popen([tmp_path / "usr/bin/docker-registry", "serve", str(config)])
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def test_pinning_adds_the_digest_of_the_base_image(
    generate: Generate, env: dict[str, str], engine: Engine, registry: str
) -> None:
    project = generate(DEFAULT)
    dockerfile = project / "deploy" / "Dockerfile"
    (base,) = re.findall(r"^FROM (\S+) AS base$", dockerfile.read_text(), re.MULTILINE)
    stored = f"{registry}/{base}"
    engine.docker("tag", base, stored)
    engine.docker("push", stored)
    dockerfile.write_text(dockerfile.read_text().replace(f"FROM {base} ", f"FROM {stored} "))

    for _ in range(2):  # again: it replaces the digest
        make(project, with_engine(env, engine), "pin")
        pinned = rf"^FROM {re.escape(stored)}@sha256:[0-9a-f]{{64}} AS base$"
        assert len(re.findall(pinned, dockerfile.read_text(), re.MULTILINE)) == 1
