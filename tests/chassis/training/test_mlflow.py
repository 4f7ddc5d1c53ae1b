"""Runs reach a real MLflow server; test_log.py has a stand-in for one that fails."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from chassis.flights import PROJECT
from chassis.rows import small_dataset
from ml_chassis.data.store import Store
from ml_chassis.programs import free_port
from ml_chassis.settings import Settings
from ml_chassis.training.config import read
from ml_chassis.training.log import open_log
from ml_chassis.training.train import Rows
from ml_chassis.training.tune import plan, tune

pytestmark = pytest.mark.slow

# Installed for this test alone: 600 MB, which nothing else needs.
SERVER = ("tool", "run", "--from", "mlflow>=3.5,<4", "mlflow", "server")
START_SECONDS = 250
TRIALS = 2


@pytest.fixture
def mlflow(tmp_path: Path) -> Iterator[httpx.Client]:
    """Return a client of a server with a database of its own."""
    uv = os.environ.get("UV") or shutil.which("uv")  # `uv run` names itself
    assert uv
    port = free_port()
    where = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    store = ("--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db")
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("PYTHONPATH", None)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            (uv, *SERVER, *where, *store),
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            _wait(process, client, tmp_path / "log")
            yield client
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


def test_every_trial_is_there_and_a_refusal_is_told(
    mlflow: httpx.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = read(PROJECT)
    assert config.tuning
    few = config.tuning.model_copy(update={"trials": TRIALS})
    rows = small_dataset()
    some = Rows(rows, rows[:0], "of these rows", datetime(2026, 1, 31), 0.0)
    store = Store(PROJECT, f"sqlite:///{tmp_path}/service.db")
    log = open_log(store, Settings(mlflow_url=SecretStr(str(mlflow.base_url))))

    tuned = tune(plan(config.model_copy(update={"tuning": few})), some, log)

    found = {run["info"]["run_name"]: run for run in _runs(mlflow)}
    assert len(tuned) == len(found) == TRIALS
    for trial in tuned:
        run = found[trial.name]
        assert run["info"]["status"] == "FINISHED"
        measures = {each["key"]: each["value"] for each in run["data"]["metrics"]}
        assert measures["loss"] == pytest.approx(trial.measures["loss"])
        told = {each["key"] for each in run["data"]["params"]}
        assert told >= trial.parameters.keys() >= {"max_iter", "learning_rate"}
    identifier = run["info"]["experiment_id"]
    deleted = {"experiment_id": identifier}
    mlflow.post("/api/2.0/mlflow/experiments/delete", json=deleted).raise_for_status()
    more = config.tuning.model_copy(update={"trials": TRIALS + 1})
    tune(plan(config.model_copy(update={"tuning": more})), some, log)
    assert f"The experiment {identifier} must be in the 'active' state" in capsys.readouterr().err

    store.close()


def _runs(mlflow: httpx.Client) -> list[dict[str, Any]]:
    api = "/api/2.0/mlflow"
    asked = {"experiment_name": PROJECT.name}
    named = mlflow.get(f"{api}/experiments/get-by-name", params=asked).json()
    wanted = {"experiment_ids": [named["experiment"]["experiment_id"]], "max_results": 1_000}
    runs: list[dict[str, Any]] = mlflow.post(f"{api}/runs/search", json=wanted).json()["runs"]
    return runs


def _wait(process: subprocess.Popen[bytes], client: httpx.Client, log: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < give_up:
        with suppress(httpx.TransportError):
            if client.get("/health").is_success:
                return
        time.sleep(0.1)
    raise RuntimeError(f"MLflow did not start: {log.read_text()[-2000:]}")
