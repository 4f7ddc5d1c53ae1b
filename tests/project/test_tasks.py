"""The tasks of a generated project that its workflow does not run, and tasks out of order."""

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from delivery.tools import envoy
from ml_chassis.programs import answers, free_port, running
from ml_chassis.registry import history
from project.combinations import DEFAULT
from project.conftest import Generate
from project.containers import Engine, images_of_others, with_engine
from project.service import make_serve, serve
from project.tools import make, run
from project.workflow import commands, read_workflow
from prometheus import tool
from render.engines import git
from waiting import wait_for

AGAIN = """
from ml_chassis import registry
graph, manifest = registry.load("models")
facts = manifest.model_dump(exclude={"version", "created_at", "model_sha256"})
print(registry.register("models", graph, **facts).version)
"""


@pytest.fixture
def project(trained_project: Path) -> Path:
    """Return a project with everything installed and a trained model, all of it committed."""
    return trained_project


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
    # The workflow has executed the others: make is told that they are done.
    nowhere = {**env, "DOCKER_HOST": "unix:///nowhere"}
    done = [f"--old-file={task}" for task in ("lint", "test", "contract")]
    said = make(project, nowhere, *done, "check")
    assert said.startswith("SKIPPED: image, smoke and loadimage")


def test_generated_pages_style_and_lock_are_current(project: Path, env: dict[str, str]) -> None:
    make(project, env, "docs", "rules", "format", "setup")
    assert git(project, "status", "--porcelain") == ""


def test_a_change_that_breaks_clients_is_refused_until_it_is_accepted(
    project: Path, env: dict[str, str]
) -> None:
    schema = project / "src" / "model_service" / "schema.py"
    schema.write_text(schema.read_text().replace("le=200", "le=100"))
    try:
        done = run(project, "make", "contract", env=env)
        assert done.returncode != 0
        assert "wind_speed: values are refused that were accepted" in done.stdout
        assert git(project, "diff", "--name-only", "docs") == ""
        assert "was written" in make(project, env, "contract", "ACCEPT=yes")
        assert "is current" in make(project, env, "contract")
    finally:
        git(project, "checkout", "--", ".")


def test_a_model_is_promoted_and_rolled_back(project: Path, env: dict[str, str]) -> None:
    again = run(project, ".venv/bin/python", "-c", AGAIN, env=env)
    assert again.returncode == 0, again.stdout
    make(project, env, "promote", f"VERSION={again.stdout.strip()}", "WHY=newer")
    log = (project / "models" / "champion").read_text().splitlines()
    second, first = (json.loads(line)["version"] for line in log)
    why = 'WHY=it\'s worse at "JFK"'
    said = make(project, env, "rollback", why, "WHO=Jo")
    assert f"{first} is the champion now" in said
    assert f"Undo it: make promote VERSION={second} " in said
    assert 'UTC  Jo: it\'s worse at "JFK"' in make(project, env, "models")
    assert "Say why" in run(project, "make", "promote", f"VERSION={second}", env=env).stdout
    given = (f"VERSION={second}", "WHY=better after all")
    assert f"{second} is the champion now" in make(project, env, "promote", *given)
    unknown = run(project, "make", "promote", "VERSION=unknown", "WHY=tried", env=env)
    assert unknown.returncode != 0
    assert f"no version 'unknown' in models, only {second}" in unknown.stdout
    assert f"{second}  AUC" in make(project, env, "models")
    assert "Say which version" in run(project, "make", "promote", env=env).stdout


def test_the_example_row_is_predicted(project: Path, env: dict[str, str]) -> None:
    with make_serve(project, env) as running:
        port = running.service.address.rpartition(":")[2]
        assert '"predictions":[0.' in make(project, {**env, "PORT": port}, "predict")


def test_labels_are_taken_without_being_told(
    project: Path, env: dict[str, str], tmp_path: Path
) -> None:
    def in_database(condition: str) -> list[str]:
        statement = f"SELECT id FROM feedback_predictions WHERE {condition}"  # noqa: S608
        with closing(sqlite3.connect(project / "data" / "feedback.db", timeout=60)) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
            # The file comes before its tables.
            found = database.execute(statement) if "feedback_predictions" in tables else ()
            return [name for (name,) in found]

    with make_serve(project, env) as running:
        service = running.service
        first, second = service.predict([service.example_row()] * 2).body["prediction_id"]
        wait_for((project / "data" / "feedback.db").exists)
        wait_for(lambda: {first, second} <= {*in_database("label IS NULL")}, "they are kept")
        told = service.post("/feedback", {"labels": [{"prediction_id": first, "label": True}]})
        assert told.body == {"joined": 1, "known": 0, "changed": 0, "waiting": 0}

        (tmp_path / "labels.csv").write_text(f"prediction_id,label\n{second},false\n")
        make(project, env, "feedback", f"INPUT={tmp_path}/labels.csv")
        wait_for(lambda: second in in_database("label = 'false'"), "the service joins it")
    assert git(project, "status", "--porcelain") == ""
    given = {**env, "MODEL_SERVICE_FEEDBACK_URL": "sqlite:///data/feedback.db"}
    assert "is current" in make(project, given, "contract")


def test_a_gateway_answers_and_a_release_needs_another_version(
    project: Path, env: dict[str, str]
) -> None:
    tool("prometheus")
    given = {**env, "PATH": f"{envoy().parent}:{env['PATH']}"}
    port, version = free_port(), history(project / "models")[0]
    with serve(["make", "gateway"], project, {**given, "PORT": str(port)}, port) as running:
        assert running.service.predict([running.service.example_row()]).status == 200
        said = run(project, "make", "canary", f"VERSION={version}", env=given)
        assert (said.returncode, "is the champion already" in said.stdout) == (2, True), said
        said = run(project, "make", "shadow", f"VERSION={version}", env=given)
        assert (said.returncode, "is the champion itself" in said.stdout) == (2, True), said
    said = run(project, "make", "canary", "DO=hold", env=given)
    assert (said.returncode, "No release is under way" in said.stdout) == (2, True), said
    for task, told in (
        ("shadow", "There was no shadow yet"),
        ("experiment", "There is no A/B test"),
    ):
        said = run(project, "make", task, env=given)
        assert (said.returncode, told in said.stdout) == (2, True), said
    assert git(project, "status", "--porcelain") == ""


def test_the_commands_of_the_sizing_page_work_and_the_slo_is_met(
    project: Path, env: dict[str, str]
) -> None:
    page = (project / "chassis" / "docs" / "sizing.md").read_text()
    blocks = "".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
    lines = [line.partition("#")[0].strip() for line in blocks.splitlines()]
    in_workflow = commands(read_workflow(project / ".github" / "workflows" / "ci.yml")).values()
    shorter = {
        re.sub(r"make load\b( SECONDS=\d+)?", "make load SECONDS=2", line)
        for line in set(lines) - set(in_workflow)
    }
    with make_serve(project, env) as running:
        for line in shorter:
            command = line.replace("localhost:3000", running.service.address)
            done = run(project, "sh", "-c", command, env=env)
            assert done.returncode == 0, done.stdout
            if "URL" not in line:  # the memory of another service is not seen
                assert_objectives_are_met(project, done.stdout)


def test_an_alert_retrains_by_the_commands_of_the_page(project: Path, env: dict[str, str]) -> None:
    page = (project / "chassis" / "docs" / "retraining.md").read_text()
    (block,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    command, *asks = block.splitlines()
    port = free_port()
    given = {**env, "MODEL_SERVICE_RETRAINER_PORT": str(port)}
    with serve(command.split(), project, given, port) as running:
        for ask in asks:
            line = ask.replace("localhost:3001", running.service.address)
            done = run(project, "sh", "-ec", line, env=env)
            assert done.returncode == 0, done.stdout
        assert '"outcome":"running"' in done.stdout

        def last() -> str:
            return str(running.service.get("/").body["retrainings"][0]["outcome"])

        wait_for(lambda: last() != "running", "it has ended")
        assert last() == "nothing_new"
        running.stop()
        assert running.processes() == []


def test_the_commands_of_the_ml_test_score_work(project: Path, env: dict[str, str]) -> None:
    """Others are executed elsewhere.

    Those of the workflow by it, `make load` with the page on sizing, and what `make canary` plays
    for minutes with the library.
    """
    page = (project / "chassis" / "docs" / "ml-test-score.md").read_text()
    lines = set(re.findall(r" \| `(make [^`]+)` \| ", page))
    workflow = read_workflow(project / ".github" / "workflows" / "ci.yml")
    lines -= {"make check", "make load", "make canary", *commands(workflow).values()}
    assert len(lines) > 5
    fewer = re.sub(r"(trials|folds) = \d+", r"\1 = 2", (project / "training.toml").read_text())
    (project / "training.toml").write_text(fewer)
    again = run(project, ".venv/bin/python", "-c", AGAIN, env=env).stdout.strip()
    try:
        make(project, env, "promote", f"VERSION={again}", "WHY=to roll it back")
        for line in sorted(lines):
            done = run(project, "sh", "-ec", line, env=env)
            assert done.returncode == 0, done.stdout
    finally:
        git(project, "checkout", "training.toml")


def assert_objectives_are_met(project: Path, said: str) -> None:
    report = (project / "build" / "load" / "report.html").read_text()
    for section in ("objectives", "budget"):
        for name in yaml.safe_load((project / "slo.yaml").read_text())[section]:
            if name != "cpu_cores_limit":  # the container enforces it
                assert re.search(rf"^{name} .* met$", said, re.MULTILINE)
                assert name in report


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
        name = ("-c", "user.name=Jo", "-c", "user.email=jo@example.com")
        with FileLock(Path(env["MYPY_CACHE_DIR"]) / "lock"):  # see SHARING in workflow.py
            refused = run(project, "git", *name, "commit", "--message=Bad", env=env)
        assert refused.returncode != 0
        assert "Incompatible types in assignment" in refused.stdout
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
    command = [str(tmp_path / "usr/bin/docker-registry"), "serve", str(config)]
    with running(command, lambda: answers(f"http://127.0.0.1:{port}/v2/")):
        yield f"127.0.0.1:{port}"


def test_pinning_adds_the_digests_of_the_images_of_others(
    generate: Generate, env: dict[str, str], engine: Engine, registry: str
) -> None:
    project = generate(DEFAULT)
    dockerfile, compose = (project / "deploy" / name for name in ("Dockerfile", "compose.yaml"))
    (base,) = re.findall(r"^FROM (\S+) AS base$", dockerfile.read_text(), re.MULTILINE)
    named = {dockerfile: [base], compose: images_of_others(compose.read_text())}
    assert len(named[compose]) == 4
    pinned = []
    for path, images in named.items():
        for image in images:
            stored = f"{registry}/{image}"
            engine.docker("tag", base, stored)
            engine.docker("push", stored)
            path.write_text(path.read_text().replace(f" {image}", f" {stored}"))
            pinned.append((path, rf" {re.escape(stored)}@sha256:[0-9a-f]{{64}}(?: AS base)?$"))

    for _ in range(2):  # again: it replaces the digest
        make(project, with_engine(env, engine), "pin")
        for path, line in pinned:
            assert len(re.findall(line, path.read_text(), re.MULTILINE)) == 1


def test_the_tools_of_bentoml_pack_the_service_whole(
    project: Path, env: dict[str, str], tmp_path: Path
) -> None:
    # No index has the library: it comes from its folder.
    home = {**env, "HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True", "UV_INDEX": ""}
    make(project, home, "bento")
    (packed,) = tmp_path.glob("bentoml/bentos/*/*/src")
    files = {path.relative_to(packed).parts[0] for path in packed.rglob("*") if path.is_file()}
    assert files - {"bentofile.yaml"} == {
        *("LICENSE", "README.md", "model_service", "models", "pyproject.toml", "slo.yaml")
    }
    # As in the image that BentoML makes of it: nothing but what was packed is there.
    made = tmp_path / "environment"
    subprocess.run(["uv", "venv", "--quiet", made], env=home, check=True)
    installed = {**home, "VIRTUAL_ENV": str(made)}
    install = packed.parent / "env" / "python" / "install.sh"
    subprocess.run(["bash", install], env=installed, check=True, capture_output=True)
    port = free_port()
    command = [str(made / "bin" / "bentoml"), "serve", str(packed.parent), f"--port={port}"]
    with serve(command, packed, home, port) as running:
        service = running.service
        assert service.predict([service.example_row()]).status == 200
