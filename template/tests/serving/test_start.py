"""A service that cannot serve says why, once, and ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_service import registry
from tests.conftest import Service, Trained, start_service


def start(home: Path, models: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"BENTOML_HOME": str(home), "MODEL_SERVICE_MODELS_DIR": str(models), **settings}
    return subprocess.run(
        [sys.executable, "-m", "model_service.serving"],
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
        ("MODEL_SERVICE_WORKERS", "none", "workers"),
        ("MODEL_SERVICE_DRAIN_SECONDS", "inf", "drain_seconds"),
        ("MODEL_SERVICE_WORKRES", "4", "There is no setting MODEL_SERVICE_WORKRES"),
        ("MODEL_SERVICE_ALIAS", "nobody", "No model 'nobody'"),
        ("MODEL_SERVICE_MODELS_DIR", "pyproject.toml", "make train"),
    ],
)
def test_a_wrong_setting_is_named(
    tmp_path: Path, trained: Trained, variable: str, value: str, said: str
) -> None:
    assert_told(start(tmp_path, trained.models, **{variable: value}), said)


def test_bentoml_serve_works_too(tmp_path: Path, trained: Trained) -> None:
    service = start_service(trained.models, tmp_path, ("bentoml", "serve", "--port", "{port}"))
    service.process.terminate()

    assert service.process.wait(timeout=20) == 0


def test_a_port_in_use_is_named(tmp_path: Path, trained: Trained, service: Service) -> None:
    port = service.url.rpartition(":")[2]

    ended = start(tmp_path, trained.models, MODEL_SERVICE_PORT=port)

    assert_told(ended, f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("registered", "stored", "said"),
    [
        (None, b"changed", "changed after it was registered"),
        (b"no graph", b"no graph", "cannot be loaded"),
    ],
    ids=["tampered", "damaged"],
)
def test_a_model_that_is_not_what_it_was_is_not_served(
    tmp_path: Path, trained: Trained, registered: bytes | None, stored: bytes, said: str
) -> None:
    graph, manifest = registry.load(trained.models)
    models = tmp_path / "models"
    facts = manifest.model_dump(exclude={"version", "created_at", "model_sha256"})
    copied = registry.register(models, registered or graph, **facts)
    registry.promote(models, copied.version)
    (models / copied.version / registry.MODEL_FILE).write_bytes(stored)

    assert_told(start(tmp_path, models), said)
