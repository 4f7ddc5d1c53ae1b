"""Every run leaves a line, here and where the settings say; nothing of that stops a training."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chassis.flights import CONTRACT, PROJECT
from chassis.training.mlflow_server import Server, mlflow_server
from ml_chassis.data.store import Store
from ml_chassis.programs import free_port
from ml_chassis.testing import Trained
from ml_chassis.training.candidate import Candidate
from ml_chassis.training.config import Limit, read
from ml_chassis.training.gates import Gate
from ml_chassis.training.log import Log, Run, describe_run
from ml_chassis.training.mlflow import Tracker
from ml_chassis.training.runs_report import differing, render, told
from ml_chassis.training.train import GateError, conclude, prepare

ORIGIN = {
    "code_version": "c0ffee",
    "data_sha256": "d",
    "schema_sha256": "s",
    "config_sha256": "t",
    "packages": {"numpy": "2"},
}


def a_run(parameters: dict[str, Any] | None = None, **measures: float) -> Run:
    return describe_run(
        PROJECT, "tune", "trial 1", "tried", 1.5, ORIGIN, parameters or {}, measures, "x"
    )


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    store = Store(PROJECT, database_url)
    yield Log(store)
    store.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with mlflow_server() as running:
        yield running


@pytest.fixture(scope="module")
def candidate(trained: Trained) -> Candidate:
    return prepare(read(PROJECT), trained.store, trained.models)


def test_a_run_is_read_as_it_was_written(log: Log) -> None:
    run = a_run({"depth": 3, "rate": 0.1}, loss=0.5)
    log.add(run)

    assert log.read() == log.read("x") == [run]
    assert log.read("y") == []


def test_what_is_not_a_number_is_left_out(log: Log) -> None:
    log.add(a_run(loss=math.nan, auc=0.7))

    assert log.read()[0].measures == {"auc": 0.7}


def test_a_registered_model_is_logged_with_its_version(
    candidate: Candidate, log: Log, tmp_path: Path
) -> None:
    manifest = conclude(candidate, tmp_path / "models", log, begun=0)

    (run,) = log.read()
    assert (run.kind, run.outcome) == ("train", manifest.version)
    assert run.parameters == manifest.parameters
    assert run.data_sha256 == manifest.data_sha256
    assert run.environment.items() >= manifest.packages.items()


def test_a_refused_model_is_logged_with_the_gates_that_failed(
    candidate: Candidate, log: Log, tmp_path: Path
) -> None:
    gate = Gate("auc", 0.5, Limit(minimum=0.9, reason="too much to ask"))
    with pytest.raises(GateError):
        conclude(replace(candidate, gates=[gate]), tmp_path / "models", log, begun=0)

    assert [run.outcome for run in log.read()] == ["failed auc"]


def test_a_log_that_cannot_be_written_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(PROJECT, f"sqlite:///{tmp_path}/service.db")
    store.close()
    (tmp_path / "service.db").unlink()

    Log(store).add(a_run())

    assert "not in the log" in capsys.readouterr().err


def test_a_run_goes_to_mlflow_too(server: Server) -> None:
    tracker = Tracker(server.url, "service")
    for _ in range(2):
        tracker.send(a_run({"depth": 3}, loss=0.5))

    paths = [path for path, _ in server.asked]
    one = ["runs/create", "runs/log-batch", "runs/update"]
    assert paths == ["experiments/get-by-name", *one, *one]
    (_, created), (_, logged) = server.asked[1:3]
    assert created["experiment_id"] == "7"
    assert {"key": "data_sha256", "value": "d"} in created["tags"]
    assert created["start_time"] == server.asked[3][1]["end_time"] - 1_500
    assert logged["params"] == [{"key": "depth", "value": "3"}]
    assert logged["metrics"][0].items() >= {"key": "loss", "value": 0.5}.items()


def test_a_missing_experiment_is_made(server: Server) -> None:
    server.states = [404]
    Tracker(server.url, "service").send(a_run())

    assert [path for path, _ in server.asked][:2] == [
        "experiments/get-by-name",
        "experiments/create",
    ]


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.states = [503]
    Tracker(server.url, "service").send(a_run())

    assert [path for path, _ in server.asked][:2] == ["experiments/get-by-name"] * 2
    assert server.asked[-1][0] == "runs/update"


@pytest.mark.parametrize("state", [500, 401])
def test_a_server_that_fails_is_named_once_and_not_asked_again(
    server: Server, state: int, capsys: pytest.CaptureFixture[str]
) -> None:
    server.states = [state]
    tracker = Tracker(server.url.replace("//", "//somebody:secret@"), "service")
    for _ in range(2):
        tracker.send(a_run())

    assert len(server.asked) == 1
    told = capsys.readouterr().err
    reason = "The experiment 7 must be in the 'active' state. Current state is deleted."
    assert told.count(f"it answered {state}: {reason}") == 1
    assert "secret" not in told


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(f"http://127.0.0.1:{free_port()}", id="nobody listens"),
        "not an address",
        "http://[",
    ],
)
def test_a_server_that_is_not_there_is_no_failure(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Tracker(url, "service").send(a_run())

    assert "MLflow did not take the run" in capsys.readouterr().err


def test_the_table_has_columns_for_what_is_not_always_the_same() -> None:
    runs = [a_run({"depth": depth, "rate": 0.1}, loss=depth / 10) for depth in (3, 4)]

    head, latest, before = told(CONTRACT, runs)

    assert "depth" in head
    assert "rate" not in head
    assert (latest[head.index("depth")], before[head.index("depth")]) == ("4", "3")
    assert differing([{"a": 1}, {"a": 1, "b": 2}]) == ["b"]


def test_the_page_shows_losses_by_run_and_by_parameter() -> None:
    runs = [a_run({"depth": depth, "rate": 0.1}, loss=depth / 10) for depth in (3, 4, 400)]

    page = render(CONTRACT, runs)

    assert page.count("<svg") == 2
    assert page.count("<circle") == 6
    assert render(CONTRACT, [a_run()])  # without a loss, and alone
