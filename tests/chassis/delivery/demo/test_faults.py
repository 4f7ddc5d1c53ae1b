"""Each fault is seen by callers and by Prometheus, of a service that is else as it always is."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_args

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from chassis.flights import FOLDER
from chassis.services import apples, flats, linear, pumps
from ml_chassis.contract import Contract
from ml_chassis.delivery.demo.faults import (
    ENDS_EVERY,
    FAILS_EVERY,
    FAULTS,
    LEAK_SHARE,
    LEAK_STEPS,
    MIB,
    SLOW_SECONDS,
    Fault,
)
from ml_chassis.loading import payloads
from ml_chassis.monitoring.rules.burn import MEMORY_SHARE
from ml_chassis.programs import end
from ml_chassis.testing import Service, start_service
from waiting import wait_for

pytestmark = pytest.mark.slow

PART = "small.{}"
PROJECT = "[tool.chassis]\n" + "".join(
    f'{part} = "{PART.format(part)}"\n'
    for part in ("schema", "tables", "features", "estimator", "service")
)
MODULE = ("ml_chassis.delivery.demo.faults", "{fault}")
REQUESTS = "model_service_requests_total"


class Project(NamedTuple):
    """A small one, whose model was never trained.

    Attributes:
        folder: Where it is.
        contract: Its schema.
        rows: That may be asked.
        version: Of its champion.
    """

    folder: Path
    contract: Contract
    rows: list[dict[str, Any]]
    version: str


def make(folder: Path, schema: ModuleType) -> Project:
    """Write a project with a model and a service."""
    package, contract = folder / "src/small", Contract(schema.Features, schema.LabelledFeatures)
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    shutil.copy(FOLDER / "slo.yaml", folder)
    shutil.copy(str(schema.__file__), package / "schema.py")
    shutil.copy(FOLDER / "src/model_service/service.py", package)
    rows = payloads.rows(contract, 100)
    return Project(folder, contract, rows, linear.promote(contract, folder / "models", rows))


@contextmanager
def serving(project: Project, fault: Fault, **settings: str) -> Iterator["Asked"]:
    """Serve a project, which is the working folder, with a fault."""
    module, log = [each.format(fault=fault) for each in MODULE], project.folder / "log"
    service = start_service("models", project.folder / "bentoml", module, log, **settings)
    try:
        with httpx.Client(base_url=service.url, timeout=30, trust_env=False) as client:
            yield Asked(project, service, client)
    finally:
        end(service.process)


class Asked(NamedTuple):
    """A service with a fault."""

    project: Project
    service: Service
    client: httpx.Client

    def ask(self, number: int = 0, **headers: str) -> httpx.Response:
        """Send one of the rows."""
        row = self.project.rows[number % len(self.project.rows)]
        return self.client.post("/predict", json={"rows": [row]}, headers=headers)

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a name with these labels."""
        return sum(self.counts(name, "track", **labels).values())

    def counts(self, name: str, by: str, **labels: str) -> dict[str, float]:
        """Return the sums of the samples of a name, by a label."""
        found = dict[str, float]()
        for family in text_string_to_metric_families(self.client.get("/metrics").text):
            for each in family.samples:
                if each.name == name and labels.items() <= each.labels.items():
                    found[each.labels[by]] = found.get(each.labels[by], 0) + each.value
        return found


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType], Project]:
    """Return what makes a project, and its folder the working one."""
    monkeypatch.chdir(tmp_path)
    return lambda schema: make(tmp_path, schema)


@pytest.fixture
def project(made: Callable[[ModuleType], Project]) -> Project:
    """Make that of pumps."""
    return made(pumps)


def test_every_fourth_request_is_answered_500_and_counted_so(project: Project) -> None:
    with serving(project, "errors") as asked:
        answers = [asked.ask(number) for number in range(5 * FAILS_EVERY)]
        refused = asked.client.post("/predict", json={"rows": []})
        counted = asked.counts(REQUESTS, "status", route="/predict")

    assert [each.status_code for each in answers] == [*[200] * (FAILS_EVERY - 1), 500] * 5
    assert "The service failed" in answers[FAILS_EVERY - 1].json()["error"]
    assert refused.status_code == 422
    assert (counted["200"], counted["500"]) == (5 * (FAILS_EVERY - 1), 5)


def test_slow_answers_are_the_model_s_own_and_do_not_wait_for_each_other(project: Project) -> None:
    with serving(project, "slow") as asked, ThreadPoolExecutor(20) as callers:
        answers = list(callers.map(asked.ask, range(20)))
        found = asked.counts("model_service_request_duration_seconds_bucket", "le")
        degraded = asked.total("model_service_degraded_requests_total")

    for answer in answers:
        assert answer.status_code == 200
        assert "degraded" not in answer.headers
        assert answer.elapsed.total_seconds() > 0.9 * SLOW_SECONDS
    assert sum(each.elapsed.total_seconds() for each in answers) < 20 * 20 * SLOW_SECONDS / 4
    assert (found["0.5"], found["+Inf"]) == (0, 20)
    assert degraded == 0


def test_workers_end_again_and_again_and_others_take_their_place(project: Project) -> None:
    lost = []
    with serving(project, "crash") as asked:
        for number in range(1, 3 * ENDS_EVERY):
            try:
                assert asked.ask(number).status_code == 200
            except httpx.TransportError:
                lost.append(number)
        counted = asked.counts(REQUESTS, "status", route="/predict")

    assert lost == [ENDS_EVERY, 2 * ENDS_EVERY]
    assert counted["200"] == 3 * ENDS_EVERY - 1 - len(lost)


def test_a_worker_hangs_until_it_is_replaced(project: Project) -> None:
    with serving(project, "hang", MODEL_SERVICE_HUNG_SECONDS="2") as asked:
        for number in range(ENDS_EVERY - 1):
            assert asked.ask(number).status_code == 200
        with pytest.raises(httpx.TransportError):
            asked.ask()
        assert asked.ask().status_code == 200
        counted = asked.counts(REQUESTS, "status", route="/predict")

    assert counted["200"] == ENDS_EVERY
    assert "WORKER TIMEOUT" in (project.folder / "log").read_text()


@pytest.mark.parametrize("schema", [pumps, apples, flats])
def test_all_rows_are_predicted_alike_and_lie_in_one_bin(
    made: Callable[[ModuleType], Project], schema: ModuleType
) -> None:
    project = made(schema)
    right = linear.answers(project.contract, project.rows)
    with serving(project, "nonsense") as asked:
        answers = [asked.ask(number).raise_for_status().json() for number in range(50)]

        def in_bins() -> dict[str, float]:
            found = asked.counts("model_service_prediction_bin_total", "bin")
            return {name: rows for name, rows in found.items() if rows}

        wait_for(lambda: sum(in_bins().values()) == len(answers), "all of them are counted")
        assert len(in_bins()) == 1
        degraded = asked.total("model_service_degraded_requests_total")

    predictions = [each["predictions"] for each in answers]
    assert all(each == predictions[0] for each in predictions)
    assert {each["model_version"] for each in answers} == {project.version}
    assert degraded == 0
    (value,) = predictions[0]
    if project.contract.classes:
        assert sum(value.values()) == pytest.approx(1)
        assert max(value, key=value.get) != project.contract.classes[right[0].argmax()]
    else:
        assert abs(value - right).min() > 0.3 * (1 if schema is pumps else right.max())


def test_memory_is_kept_until_the_budget_is_nearly_used(project: Project) -> None:
    budget = 512 * MIB
    with serving(project, "leak", MODEL_SERVICE_WORKERS="2") as asked:

        def used() -> float:
            return asked.total("model_service_memory_bytes")

        def ask() -> None:
            for number in range(LEAK_STEPS):
                # On a connection of its own, of which both workers get some.
                assert asked.ask(number, connection="close").status_code == 200

        assert used() < budget / 2
        ask()
        ask()  # both workers have got enough, also where one gets more
        wait_for(lambda: used() > MEMORY_SHARE * budget, "nearly all of it is used")
        ask()
        after = memory_now(asked.service)

    assert MEMORY_SHARE * budget < after < (LEAK_SHARE + 0.03) * budget


def memory_now(service: Service) -> int:
    """Return what its processes use; the service itself looks every few seconds alone."""
    supervisor = psutil.Process(service.process.pid)
    return sum(each.memory_full_info().pss for each in (supervisor, *supervisor.children()))


@pytest.mark.usefixtures("project")
def test_it_ends_with_a_message_before_it_is_ready() -> None:
    ended = run("start")

    assert ended.returncode == 1
    assert "src/small/service.py: NameError" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not ended.stdout


@pytest.mark.usefixtures("project")
def test_other_faults_are_refused_and_all_are_named() -> None:
    ended = run("none")

    assert ended.returncode == 1
    assert ended.stderr == f"Name one fault: {', '.join(get_args(Fault))}.\n"
    assert FAULTS.keys() == set(get_args(Fault))


def run(kind: str) -> subprocess.CompletedProcess[str]:
    """Run the module until it ends."""
    command = [sys.executable, "-m", MODULE[0], kind]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
