"""`make load` as a whole: it passes a service that meets slo.yaml, and names what is missed."""

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from chassis.command import chassis
from ml_chassis import slo
from ml_chassis.loading import command as load_test
from ml_chassis.loading.judge import UNITS
from ml_chassis.loading.targets import Target
from ml_chassis.testing import Service, Trained

# Whether this machine meets the objectives is another question than whether they are judged.
GENEROUS = {
    "latency_p50_ms": "5000",
    "latency_p99_ms": "5000",
    "throughput_per_worker": "1",
    "cpu_cores": "1",
}


def state(folder: Path, **changes: str) -> Path:
    """Write slo.yaml with other numbers."""
    text = slo.SLO.read_text(encoding="utf-8")
    for name, value in {**GENEROUS, **changes}.items():
        text, count = re.subn(rf"(?m)^( *{name}:) .*$", rf"\1 {value}", text)
        assert count == 1
    changed = folder / "slo.yaml"
    changed.write_text(text, encoding="utf-8")
    return changed


def test_a_service_that_meets_everything_passes(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "new" / "report.html"
    options = [f"--slo={state(tmp_path)}", f"--report={report}", "--seconds=1"]

    assert chassis("load", *options, f"--url={service.url}") == 0
    said = capsys.readouterr().out
    assert re.search(r"^latency_p99_ms .* met$", said, re.MULTILINE)
    assert re.search(r"^memory_mib .* not measured$", said, re.MULTILINE)
    assert "Load test: met" in report.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_service_is_started_and_what_it_misses_is_named(
    trained: Trained, tmp_path: Path
) -> None:
    stated = state(tmp_path, latency_p50_ms="0.001", latency_p99_ms="0.001")
    report = tmp_path / "report.html"
    command = ["-m", "ml_chassis", "load", "--seconds=2", f"--slo={stated}", f"--report={report}"]
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "MODEL_SERVICE_MODELS_DIR": str(trained.models)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    named = r"^MISSED latency_p99_ms: objective at most 0.001 ms, measured [\d.]+$"
    assert re.search(named, done.stderr, re.MULTILINE)
    for name in UNITS:
        state_of_it = "MISSED" if name.startswith("latency") else "met"
        assert re.search(rf"^{name} .* {state_of_it}$", done.stdout, re.MULTILINE)

    page = report.read_text(encoding="utf-8")
    assert [name for name in UNITS if name not in page] == []
    assert trained.manifest.version in page
    assert page.count("<svg") == 5
    assert not re.search(r"(src|href)=|url\(|@import|<script", page)  # it opens without a network


@pytest.mark.parametrize(
    ("option", "setting", "said"),
    [
        ("--url=http://127.0.0.1:9", {}, "No service at http://127.0.0.1:9"),
        ("--url=127.0.0.1:9", {}, "No service at 127.0.0.1:9"),
        ("--slo=nowhere.yaml", {}, "nowhere.yaml"),
        ("--seconds=1", {"MODEL_SERVICE_WORKERS": "none"}, "MODEL_SERVICE_WORKERS"),
        ("--seconds=1", {"MODEL_SERVICE_ALIAS": "nobody"}, "No model 'nobody'"),
    ],
)
def test_what_cannot_be_loaded_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
    setting: dict[str, str],
    said: str,
) -> None:
    for name, value in setting.items():
        monkeypatch.setenv(name, value)

    assert chassis("load", f"--report={tmp_path / 'report.html'}", option) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_what_should_be_measured_and_is_not_is_no_success(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = Target(service.url, "a service", 1, look=lambda: iter(()))
    monkeypatch.setattr(load_test, "_target", lambda *_: nullcontext(blind))

    options = [f"--slo={state(tmp_path)}", f"--report={tmp_path / 'report.html'}", "--seconds=1"]
    assert chassis("load", *options) == 2
