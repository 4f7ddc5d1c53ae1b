"""One trained model and one running service for all tests."""

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import pytest
import sqlalchemy as sa

from model_service.data.raw import TABLES
from model_service.data.store import Store
from model_service.registry import Manifest
from model_service.storage import Root
from model_service.training.config import read
from model_service.training.train import train
from tests.object_storage import Storage, running

PRODUCTION = ("model_service.serving",)
BENTOML = ("bentoml", "serve", "--port", "{port}")
START_SECONDS = 60
SERVER = "POSTGRESQL_URL"


@pytest.fixture(params=["sqlite", *(["postgresql"] if SERVER in os.environ else [])])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return an empty database: a file, or one in the server that POSTGRESQL_URL names."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/service.db"
        return
    server, name = sa.make_url(os.environ[SERVER]), f"test_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
        yield server.set(database=name).render_as_string(hide_password=False)
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@dataclass(frozen=True)
class Trained:
    """A registry with one champion, and the database that it was trained from."""

    models: Path
    manifest: Manifest
    store: Store


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Train as `make train` does, into a folder of its own."""
    folder = tmp_path_factory.mktemp("trained")
    store = Store(f"sqlite:///{folder}/service.db", TABLES)
    manifest = train(read(), store, folder / "models")
    yield Trained(folder / "models", manifest, store)
    store.close()


@pytest.fixture(scope="session")
def object_storage() -> Iterator[Storage]:
    """Run a server that speaks S3."""
    with running() as server:
        yield server


@dataclass(frozen=True)
class Service:
    """A service that runs as a process of its own."""

    process: subprocess.Popen[bytes]
    url: str


def start_service(
    models: Root,
    home: Path,
    module: Sequence[str] = PRODUCTION,
    log: IO[bytes] | None = None,
    **settings: str,
) -> Service:
    """Start the service as `make serve` does, on a free port, and wait until it is ready.

    What it says goes to `log`, where there is one.
    """
    port = free_port()
    environment = {
        **os.environ,
        "BENTOML_HOME": str(home),
        "MODEL_SERVICE_MODELS_DIR": str(models),
        "MODEL_SERVICE_DRAIN_SECONDS": "1",
        "MODEL_SERVICE_PORT": str(port),
        **settings,
    }
    command = [sys.executable, "-m", *(part.format(port=port) for part in module)]
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    service = Service(process, f"http://127.0.0.1:{port}")
    give_up = time.monotonic() + START_SECONDS
    while not is_ready(service):
        if process.poll() is not None or time.monotonic() > give_up:
            process.terminate()  # not kill, which leaves its workers behind
            raise RuntimeError("The service did not become ready.")
        time.sleep(0.1)
    return service


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_ready(service: Service) -> bool:
    """Ask the readiness probe."""
    try:
        return httpx.get(f"{service.url}/readyz").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session", params=[PRODUCTION, BENTOML], ids=["production", "bentoml"])
def service(
    request: pytest.FixtureRequest, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Run the service over HTTP with two workers, through each of its two doors."""
    home = tmp_path_factory.mktemp("bentoml")
    running = start_service(trained.models, home, request.param, MODEL_SERVICE_WORKERS="2")
    yield running
    running.process.terminate()
    assert running.process.wait(timeout=30) == 0


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    """Return a client of the running service."""
    with httpx.Client(base_url=service.url, timeout=10) as connected:
        yield connected
