"""A service that cannot serve says why, once, and ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_service import registry
from tests.conftest import Trained


def start(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bentoml", "serve", "--port", "0"],
        env={**os.environ, "BENTOML_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MODEL_SERVICE_WORKERS", "none", "MODEL_SERVICE_WORKERS"),
        ("MODEL_SERVICE_ALIAS", "nobody", "No model 'nobody'"),
    ],
)
def test_a_wrong_setting_is_named(
    tmp_path: Path, trained: Trained, variable: str, value: str, said: str
) -> None:
    ended = start(tmp_path, MODEL_SERVICE_MODELS_DIR=str(trained.models), **{variable: value})

    assert ended.returncode != 0
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_tampered_model_is_not_served(tmp_path: Path, trained: Trained) -> None:
    graph, manifest = registry.load(trained.models)
    models = tmp_path / "models"
    copied = registry.register(models, graph, **manifest.model_dump(exclude=GIVEN_BY_REGISTER))
    registry.promote(models, copied.version)
    (models / copied.version / registry.MODEL_FILE).write_bytes(graph + b"\0")

    ended = start(tmp_path, MODEL_SERVICE_MODELS_DIR=str(models))

    assert ended.returncode != 0
    assert "changed after it was registered" in ended.stderr


GIVEN_BY_REGISTER = {"version", "created_at", "model_sha256"}
