"""The image runs hardened, holds only what serving takes, and talks to nobody."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from ml_chassis.programs import free_port
from nightly import NIGHTLY
from project.combinations import DEFAULT, OPPOSITE, name_of
from project.conftest import Generate, loosen
from project.containers import HARDENED, WATCH, Engine, build_image, with_engine
from project.packages import PASSWORD
from project.service import STOP_SECONDS, Service
from project.tools import make, run
from waiting import wait_for

LIBRARIES_OF_TRAINING = ("narwhals", "onnx", "pandas", "polars", "skl2onnx", "sklearn", "torch")
TOOLS_OF_BUILDING = ("cc", "g++", "gcc", "git", "make", "uv")
MAXIMUM_MEGABYTES = 450


@dataclass(frozen=True)
class Image:
    """An image that `make image` built.

    With the project that it comes from, the environment of the project's tasks, and the image that
    it is based on.
    """

    name: str
    project: Path
    env: dict[str, str]
    base: str


@pytest.fixture(scope="module")
def opposite_project(generate: Generate, env: dict[str, str], trained_project: Path) -> Path:
    """Return a project of the other answers, with the model of the default: images know no family.

    That its own network is served is seen in test_project.py.
    """
    project = generate(OPPOSITE)
    loosen(project)
    make(project, env, "setup")
    shutil.copytree(trained_project / "models", project / "models")
    return project


@pytest.fixture(scope="module", params=[DEFAULT, OPPOSITE], ids=name_of)
def image(request: pytest.FixtureRequest, env: dict[str, str], engine: Engine) -> Iterator[Image]:
    """Build the image of a project, and remove it afterwards."""
    default = request.param == DEFAULT
    project = request.getfixturevalue("trained_project" if default else "opposite_project")
    name = f"registry.example/team/service:{request.param['model_family']}"
    env = {**with_engine(env, engine), "IMAGE": name}
    build_image(project, env)
    yield Image(name, project, env, f"python:{request.param['python_version']}-slim")
    engine.docker("image", "rm", "--force", name)


def is_healthy(engine: Engine, container: str) -> bool:
    state = engine.inspect(container)["State"]
    assert state["Running"], engine.logs(container)
    return bool(state["Health"]["Status"] == "healthy")


def wait_until_healthy(engine: Engine, container: str) -> None:
    wait_for(lambda: is_healthy(engine, container), "the health check of the image succeeds")


def test_it_predicts_hardened_and_stops_in_good_order(image: Image, engine: Engine) -> None:
    proxy = "--env=http_proxy=http://127.0.0.1:1"  # who asks itself goes round it
    arguments = (*HARDENED, proxy, "--publish=127.0.0.1::3000", image.name)
    with engine.container(*arguments) as container:
        wait_until_healthy(engine, container)
        predicted = ("python", "-m", "ml_chassis", "predict", "http://127.0.0.1:3000")
        assert "predictions" in engine.docker("exec", container, *predicted)
        service = Service(engine.address(container, 3000))
        answer = service.predict([service.example_row()])
        assert answer.status == 200, answer.body
        assert engine.docker("exec", container, "id", "-u") == "10001"

        engine.docker("stop", f"--time={STOP_SECONDS}", container)
        assert engine.inspect(container)["State"]["ExitCode"] == 0


def test_it_answers_the_probes_of_its_manifests(image: Image, engine: Engine) -> None:
    manifest = image.project / "deploy/kubernetes/base/deployment.yaml"
    if not manifest.exists():
        pytest.skip("not for Kubernetes")
    found = {each["kind"]: each for each in yaml.safe_load_all(manifest.read_text())}
    pod = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    with engine.container(*HARDENED, "--publish=127.0.0.1::3000", image.name) as container:
        service = Service(engine.address(container, 3000))
        wait_for(service.is_ready, "the service wants requests")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert service.get(pod[probe]["httpGet"]["path"]).status == 200


@pytest.mark.skipif(not NIGHTLY, reason="it installs what trains: `make nightly`")
def test_one_that_trains_does_what_the_cron_job_asks(
    trained_project: Path, env: dict[str, str], engine: Engine
) -> None:
    path = trained_project / "deploy/kubernetes/components/retraining/retraining.yaml"
    found = {each["kind"]: each for each in yaml.safe_load_all(path.read_text())}
    pod = found["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    name = "registry.example/team/service-training:test"
    build_image(trained_project, {**with_engine(env, engine), "IMAGE": name}, "TRAINING=yes")
    options = [
        *("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
        *(f"--tmpfs={each['mountPath']}:mode=1777" for each in container["volumeMounts"]),
        f"--memory={container['resources']['limits']['memory'].removesuffix('i')}",
        # What is a Secret there: addresses of a registry and of a database; and the raw tables.
        *(
            "--env=MODEL_SERVICE_MODELS_DIR=/tmp/models",
            f"--volume={trained_project}/data/raw:/app/data/raw:ro",
        ),
        "--env=MODEL_SERVICE_DATABASE_URL=sqlite:////tmp/service.db",
    ]
    said = engine.docker("run", "--rm", *options, name, *container["args"], seconds=600)
    assert "Promoted: all gates passed" in said
    engine.docker("image", "rm", "--force", name)


def test_it_needs_no_network(image: Image, engine: Engine) -> None:
    with engine.container(*HARDENED, "--network=none", image.name) as container:
        wait_until_healthy(engine, container)
        ask = ("python", "-m", "ml_chassis", "predict", "http://127.0.0.1:3000")
        assert "predictions" in engine.docker("exec", container, *ask)


def test_it_connects_to_nobody(image: Image, engine: Engine) -> None:
    watch = ("--publish=127.0.0.1::3000", image.base, "python3", "-c", WATCH)
    with engine.container(*watch) as watcher:
        wait_for(lambda: "watching" in engine.logs(watcher), "the watcher listens")
        beside = (*HARDENED, f"--network=container:{watcher}", image.name)
        with engine.container(*beside) as container:
            wait_until_healthy(engine, container)
            service = Service(engine.address(watcher, 3000))
            assert service.predict([service.example_row()]).status == 200
            assert engine.logs(watcher) == "watching"

            # The watcher would have seen it: a name that the service asks for shows up.
            look_up = "import socket; socket.gethostbyname('phone.home.example')"
            with pytest.raises(RuntimeError):
                engine.docker("exec", container, "python", "-c", look_up)
            assert "phone.home.example" in engine.logs(watcher)


def test_the_password_of_the_package_index_is_nowhere(image: Image, engine: Engine) -> None:
    assert PASSWORD in image.env["UV_INDEX"]
    assert PASSWORD not in (image.project / "uv.lock").read_text()
    assert PASSWORD not in engine.docker("history", "--no-trunc", image.name)
    search = ("grep", "-rlF", "--exclude-dir=proc", "--exclude-dir=sys")
    with pytest.raises(RuntimeError):  # grep finds nothing
        engine.docker("run", "--rm", "--user=0", image.name, *search, PASSWORD, "/")
    assert engine.docker("run", "--rm", image.name, *search, "BaseModel", "/app/src")


def test_it_holds_only_what_serving_takes(image: Image, engine: Engine) -> None:
    look = (
        "import shutil, importlib.util as u;"
        f"print([m for m in {LIBRARIES_OF_TRAINING} if u.find_spec(m)]"
        f" + [t for t in {TOOLS_OF_BUILDING} if shutil.which(t)])"
    )
    run = ("run", "--rm", "--network=none")
    assert engine.docker(*run, image.name, "python", "-c", look) == "[]"
    megabytes = engine.inspect(image.name)["Size"] / 1e6
    print(f"{image.name}: {megabytes:.0f} MB")
    assert megabytes < MAXIMUM_MEGABYTES


# The workflow of the default does the next two with its image, in test_project.py.
@pytest.mark.parametrize("image", [OPPOSITE], ids=name_of, indirect=True)
def test_its_smoke_task_succeeds(image: Image) -> None:
    env = {**image.env, "PORT": str(free_port())}
    make(image.project, env, "smoke")


@pytest.mark.parametrize("image", [OPPOSITE], ids=name_of, indirect=True)
def test_it_meets_what_its_slo_states_under_its_limits(image: Image) -> None:
    said = make(image.project, image.env, "loadimage", "SECONDS=5")
    assert re.search(r"^memory_mib .* met$", said, re.MULTILINE)


@pytest.mark.parametrize("image", [OPPOSITE], ids=name_of, indirect=True)
def test_too_little_memory_is_named(image: Image) -> None:
    compose = image.project / "deploy" / "compose.yaml"
    text = compose.read_text()
    compose.write_text(re.sub("mem_limit: .*", "mem_limit: 64m", text))
    try:
        done = run(image.project, "make", "loadimage", "SECONDS=1", env=image.env)
    finally:
        compose.write_text(text)
    assert done.returncode != 0
    assert "It ran out of memory: see deploy/compose.yaml" in done.stdout
