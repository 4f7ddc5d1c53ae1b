"""The runs of a generated project in a real MLflow server."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from project.service import Service, free_port
from project.tools import make

pytestmark = pytest.mark.xdist_group("tasks")

# Installed for this test alone: 600 MB, which nothing else needs.
SERVER = ("uv", "tool", "run", "--from", "mlflow>=3.5,<4", "mlflow", "server")
START_SECONDS = 300
API = "/api/2.0/mlflow"


@pytest.fixture(scope="module")
def mlflow(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a server with a database of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    server = Service(f"127.0.0.1:{free_port()}")
    host, port = server.address.split(":")
    where = ("--host", host, "--port", port, "--workers", "1")
    store = ("--backend-store-uri", f"sqlite:///{folder}/mlflow.db")
    quiet = {**env, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            (*SERVER, *where, *store),
            cwd=folder,
            env=quiet,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(process, server, folder / "log")
        yield server
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


def test_every_trial_is_there(
    trained_project: Path, env: dict[str, str], mlflow: Service, tmp_path: Path
) -> None:
    database = {"MODEL_SERVICE_DATABASE_URL": f"sqlite:///{tmp_path}/service.db"}
    url = {"MODEL_SERVICE_MLFLOW_URL": f"http://{mlflow.address}"}
    said = make(trained_project, {**env, **database, **url}, "tune")
    assert "MLflow did not take" not in said
    listed = make(trained_project, {**env, **database}, "runs")
    runs = _runs(mlflow, trained_project.name)
    assert f"All {len(runs)} of them" in listed
    assert len(runs) == said.count(", best 0.")
    for run in runs:
        assert run["info"]["status"] == "FINISHED"
        found = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
        assert f"{run['info']['run_name']} of {len(runs)}: {found['loss']:.4f}" in said
        assert {each["key"] for each in run["data"]["params"]} >= {"max_iter", "learning_rate"}


def _runs(mlflow: Service, experiment: str) -> list[dict[str, Any]]:
    named = mlflow.get(f"{API}/experiments/get-by-name?experiment_name={experiment}")
    identifier = named.body["experiment"]["experiment_id"]
    asked = {"experiment_ids": [identifier], "max_results": 1_000}
    runs: list[dict[str, Any]] = mlflow.post(f"{API}/runs/search", asked).body["runs"]
    return runs


def _wait(process: subprocess.Popen[bytes], server: Service, log: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < give_up:
        with suppress(OSError):
            if server.get("/health").status == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"MLflow did not start: {log.read_text()[-2000:]}")
