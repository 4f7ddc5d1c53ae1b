"""What is asked of every protocol."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from chassis.flights import CONTRACT
from ml_chassis.contract import Prediction
from ml_chassis.serving.api import create_app, endpoints
from ml_chassis.serving.champion import load
from ml_chassis.serving.runtime import Runtime
from ml_chassis.serving.scoring import Model
from ml_chassis.settings import Settings
from ml_chassis.testing import Trained

CLASSES = CONTRACT.classes

Post = Callable[[str, bytes, dict[str, str]], httpx.Response]


@pytest.fixture
def expected(client: httpx.Client) -> list[Prediction]:
    """Return what /predict says of `ROWS`, without the names of classes."""
    from chassis.rows import ROWS  # Hypothesis makes some of it, which it may not do in a conftest

    return ask_for(client, ROWS)


def ask_for(client: httpx.Client, rows: list[dict[str, Any]]) -> list[Prediction]:
    """Return what /predict says of rows, without the names of classes."""
    answer = client.post("/predict", json={"rows": rows}).raise_for_status().json()
    return [list(each.values()) if CLASSES else each for each in answer["predictions"]]


@pytest.fixture(scope="session")
def post(trained: Trained) -> Iterator[Post]:
    """Return what posts to the interface in this process, thousands of times."""
    with start_application(trained) as ask:
        yield ask


@contextmanager
def start_application(
    trained: Trained, model: Model | None = None, **changes: Any
) -> Iterator[Post]:
    """Run the interface in this process, with the champion or another model."""
    runtime = Runtime(CONTRACT, Settings(models_dir=trained.models, **changes))
    runtime.scorer.use(model or load(CONTRACT, trained.models, "champion"))
    transport = httpx.ASGITransport(create_app(runtime, endpoints(runtime)))
    client = httpx.AsyncClient(transport=transport, base_url="http://test")
    with asyncio.Runner() as runner:

        def ask(path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
            return runner.run(client.post(path, content=body, headers=headers))

        yield ask
