"""`chassis retrainer`: what it needs, and how it ends."""

import json
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from chassis import copies
from chassis.command import chassis
from chassis.retrainer.process import running_retrainer
from chassis.retrainer.test_receiver import FIRING
from ml_chassis.programs import STOP_SECONDS, free_port
from ml_chassis.retrainer.record import Record
from waiting import PATIENCE_SECONDS, wait_for


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return a free port on which it would listen, with a database of its own."""
    monkeypatch.setenv("MODEL_SERVICE_DATABASE_URL", f"sqlite:///{tmp_path}/service.db")
    free = free_port()
    monkeypatch.setenv("MODEL_SERVICE_RETRAINER_PORT", str(free))
    return free


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    """Return why it does not start."""
    assert chassis("retrainer") == 1
    said = capsys.readouterr().err
    assert said.startswith("No alert is taken. ")
    return said


@pytest.mark.usefixtures("port")
@pytest.mark.parametrize(
    ("setting", "address", "said"),
    [
        (
            "RETRAIN",
            "https://example.com",
            "MODEL_SERVICE_RETRAIN_URL: give https://api.github.com/repos/",
        ),
        (
            "DATABASE",
            "mysql://localhost/x",
            "MODEL_SERVICE_DATABASE_URL: give the address of a database, sqlite:///FILE or",
        ),
    ],
)
def test_a_wrong_address_is_told(
    setting: str,
    address: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(f"MODEL_SERVICE_{setting}_URL", address)
    assert said in refused(capsys)


def test_a_port_that_is_taken_is_told(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", port)):
        assert "Set another MODEL_SERVICE_RETRAINER_PORT" in refused(capsys)


@pytest.mark.usefixtures("port")
def test_beside_another_retrainer_it_does_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Record(f"sqlite:///{tmp_path}/service.db").only_one():
        assert "Another retrainer runs: process " in refused(capsys)


@pytest.mark.slow
def test_told_to_end_it_ends_the_retraining_that_runs_and_notes_it(tmp_path: Path) -> None:
    copies.copied(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = f"http://127.0.0.1:{silent.getsockname()[1]}/flights.csv"
        sources = {"MODEL_SERVICE_SOURCES": json.dumps({"flights": source})}
        settings = copies.settings_of(tmp_path) | sources
        with running_retrainer(tmp_path, **settings) as running:
            post = {"json": FIRING, "trust_env": False}
            told: Any = httpx.post(f"{running.url}/alerts", **post).raise_for_status().json()  # type: ignore[arg-type]
            assert told["outcome"] == "running"
            silent.settimeout(PATIENCE_SECONDS)
            silent.accept()  # it reads its data
            (child,) = psutil.Process(running.process.pid).children()
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(STOP_SECONDS) == 0

    wait_for(lambda: not child.is_running())
    (found,) = Record(settings["MODEL_SERVICE_DATABASE_URL"]).last(9)
    assert (found.outcome, found.reason) == ("killed", "the retrainer was stopped")
    result = json.loads((tmp_path / "build/retraining/result.json").read_text())
    assert (result["outcome"], result["who"]) == ("failed", "alert Drift")
