"""A service that cannot serve says why, once, and ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ml_chassis.programs import free_port
from ml_chassis.serving import command
from ml_chassis.testing import Service, Trained
from waiting import wait_for

pytestmark = pytest.mark.slow


def start(home: Path, models: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"BENTOML_HOME": str(home), "MODEL_SERVICE_MODELS_DIR": str(models), **settings}
    return subprocess.run(
        [sys.executable, "-m", "ml_chassis", "serve"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_told(ended: subprocess.CompletedProcess[str], said: str) -> None:
    assert ended.returncode != 0
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MODEL_SERVICE_WORKERS", "none", "MODEL_SERVICE_WORKERS: "),
        ("MODEL_SERVICE_WORKERS", "100000", "MODEL_SERVICE_WORKERS: "),
        ("MODEL_SERVICE_HOST", "", "MODEL_SERVICE_HOST: "),
        ("MODEL_SERVICE_ALIAS", "", "MODEL_SERVICE_ALIAS: "),
        ("MODEL_SERVICE_API_KEYS", " , ", "MODEL_SERVICE_API_KEYS: give ASCII keys"),
        ("MODEL_SERVICE_DRAIN_SECONDS", "inf", "MODEL_SERVICE_DRAIN_SECONDS: "),
        ("MODEL_SERVICE_API_KEYS", "short", "start. MODEL_SERVICE_API_KEYS: give ASCII keys"),
        ("model_service_worker", "3", "There is no setting model_service_worker"),
        ("MODEL_SERVICE_WORKRES", "4", "There is no setting MODEL_SERVICE_WORKRES"),
        ("MODEL_SERVICE_ALIAS", "nobody", "No model 'nobody'"),
        ("MODEL_SERVICE_MAX_ROWS", "9" * 26, "MODEL_SERVICE_MAX_ROWS: "),
        ("MODEL_SERVICE_FEEDBACK_URL", "not a url", "MODEL_SERVICE_FEEDBACK_URL: give the address"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-5", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT must be"),
        ("MODEL_SERVICE_SOURCES", "{flights", "MODEL_SERVICE_SOURCES: it is not JSON"),
        ("MODEL_SERVICE_MODELS_DIR", "pyproject.toml", "make train"),
    ],
)
def test_a_wrong_setting_is_named(
    tmp_path: Path, trained: Trained, variable: str, value: str, said: str
) -> None:
    assert_told(start(tmp_path, trained.models, **{variable: value}), said)


@pytest.mark.parametrize(
    ("variable", "named"),
    [
        ("MODEL_SERVICE_PORT", "Set another PORT"),
        ("MODEL_SERVICE_METRICS_PORT", "Set another MODEL_SERVICE_METRICS_PORT"),
    ],
)
def test_a_port_in_use_is_named(
    tmp_path: Path, trained: Trained, service: Service, variable: str, named: str
) -> None:
    port = service.url.rpartition(":")[2]

    ended = start(tmp_path, trained.models, **{variable: port})

    assert_told(ended, f"127.0.0.1:{port}")
    assert named in ended.stderr


def test_of_services_that_start_at_once_one_has_the_port(trained: Trained, tmp_path: Path) -> None:
    port = free_port()
    settings = {"MODEL_SERVICE_PORT": str(port), "MODEL_SERVICE_MODELS_DIR": str(trained.models)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "ml_chassis", "serve"],
            env={**os.environ, **settings, "BENTOML_HOME": str(tmp_path / name)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "other")
    ]
    try:
        wait_for(lambda: any(each.poll() is not None for each in started), "one of them ends")
        (ended,) = [each for each in started if each.poll() is not None]
        assert ended.returncode == 1
        assert ended.stderr
        assert f"127.0.0.1:{port}: Address already in use" in ended.stderr.read()
    finally:
        for each in started:
            each.terminate()
        for each in started:
            each.communicate(timeout=60)


def test_more_workers_than_cpus_are_named(tmp_path: Path, trained: Trained) -> None:
    ended = start(tmp_path, trained.models, MODEL_SERVICE_WORKERS="200", MODEL_SERVICE_ALIAS="none")

    assert "more workers than CPUs" in ended.stderr


@pytest.mark.parametrize(
    ("limit", "cpus"), [("150000 100000", 1.5), ("max 100000", None), ("", None)]
)
def test_the_cpu_limit_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, cpus: float | None
) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(limit)
    monkeypatch.setattr(command, "CPU_LIMIT", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    assert command.available_cpus() == (cpus or 8)


def test_a_start_that_fails_leaves_no_folder_behind(tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    script = "import sys; import ml_chassis.serving.command as it; from ml_chassis import project;"
    script += "it.SHARED_MEMORY = sys.argv[1]; it.run(project.read())"
    settings = {"MODEL_SERVICE_MODELS_DIR": str(tmp_path), "BENTOML_HOME": str(tmp_path)}

    ended = subprocess.run(
        [sys.executable, "-c", script, str(memory)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert_told(ended, "make train")
    assert list(memory.iterdir()) == []
