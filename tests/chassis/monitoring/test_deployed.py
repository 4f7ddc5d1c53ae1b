"""The files in deploy/ are held to the budget and the weights of slo.yaml."""

import shutil
from pathlib import Path

import pytest
import yaml

from ml_chassis import slo
from ml_chassis.monitoring import deployed

STATED = slo.read()
TEMPLATE = Path(slo.__file__).parents[3]
RESOURCES = {"requests": {"cpu": 0.5, "memory": "0.5Gi"}, "limits": {"memory": "524288Ki"}}


def compose(**service: object) -> None:
    deployed.COMPOSE.parent.mkdir(parents=True, exist_ok=True)
    deployed.COMPOSE.write_text(yaml.safe_dump({"services": {"service": service}}))


def problems(**budget: float) -> list[str]:
    """Return what disagrees with another budget than that of the template."""
    stated = STATED.budget.model_copy(update=budget)
    return [*deployed.problems(STATED.model_copy(update={"budget": stated}))]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work beside the files of the template."""
    shutil.copytree(TEMPLATE / "deploy", tmp_path / "deploy")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("copied")
def test_each_place_that_disagrees_with_the_budget_is_named() -> None:
    fix = "change the one that is wrong"
    deployment = "deploy/kubernetes/base/deployment.yaml"

    assert problems() == []
    assert problems(memory_mib=256) == [
        f"deploy/compose.yaml: mem_limit is 512m, and by slo.yaml 256m: {fix}",
        f"deploy/smoke.sh: --memory is 512m, and by slo.yaml 256m: {fix}",
        f"{deployment}: resources.requests.memory is 512Mi, and by slo.yaml 256Mi: {fix}",
        f"{deployment}: resources.limits.memory is 512Mi, and by slo.yaml 256Mi: {fix}",
    ]
    assert problems(cpu_cores=0.2, cpu_cores_limit=2) == [
        f"deploy/compose.yaml: cpus is 1, and by slo.yaml 2: {fix}",
        f"deploy/smoke.sh: --cpus is 1, and by slo.yaml 2: {fix}",
        f"{deployment}: resources.requests.cpu is 500m, and by slo.yaml 200m: {fix}",
    ]


@pytest.mark.usefixtures("copied")
def test_other_weights_are_named() -> None:
    release = STATED.release.model_copy(update={"weights": [2, 20]})
    (said,) = deployed.problems(STATED.model_copy(update={"release": release}))

    rollout = "deploy/kubernetes/overlays/production/rollout.yaml"
    assert said.startswith(f"{rollout}: setWeight is [5, 10, 25, 50], and by slo.yaml [2, 20]: ")


def test_a_project_that_has_no_such_files_has_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert problems(memory_mib=1) == []


@pytest.mark.parametrize(
    ("memory", "agrees"),
    [
        ("512m", True),
        ("512MB", True),
        ("0.5g", True),
        (536870912, True),
        ("512", False),
        ("x", False),
    ],
)
def test_memory_may_be_written_in_each_way_of_docker(
    memory: object, agrees: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    compose(mem_limit=memory)
    assert (problems() == []) == agrees


def test_quantities_may_be_written_in_each_way_of_kubernetes() -> None:
    container = {"name": "service", "resources": RESOURCES}
    pod = {"template": {"spec": {"containers": [container, {"name": "other"}]}}}
    deployment = {"kind": "Deployment", "spec": pod}

    assert [*deployed.of_manifests(STATED, [deployment, None, {"kind": "Rollout"}])] == []
    container["resources"] = {"limits": {"cpu": "2", "memory": "512M"}}
    found = [each.partition(",")[0] for each in deployed.of_manifests(STATED, [deployment])]
    assert found == ["resources.limits.memory is 512M", "resources.limits.cpu is 2"]
