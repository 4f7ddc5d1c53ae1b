"""One trained model and one running service for all tests of the library.

They run in a copy of the generated project, whose example is the service that they train and ask.
"""

import logging
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import hypothesis
import pytest
import sqlalchemy as sa
from filelock import FileLock

from chassis.object_storage import Storage, running
from ml_chassis import registry, testing
from ml_chassis.data.store import Store
from ml_chassis.testing import SERVE, Service, Trained, start_service
from postgresql import pooled, running_postgresql

# How long an example takes says something of the machine alone.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

BENTOML = ("bentoml", "serve", "--port", "{port}")


def pytest_configure(config: pytest.Config) -> None:
    """Work in the folder of the project; but the controller of xdist runs no test."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        from chassis.flights import enter  # importing it generates the project

        enter()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep together in one process what shares a running service, or else a module's fixtures.

    What asks a server, the service through a door or a database, is slow.
    """
    call = getattr(item, "callspec", None)
    parameters = call.params if call else {}
    door = parameters.get("service")
    item.add_marker(pytest.mark.xdist_group(door[0] if door else item.path.stem))
    if door or parameters.get("database_url") == "postgresql":
        item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Take back what a command that ran in this process has made of its log."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Run a server."""
    with running_postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def pooler(postgresql: str) -> Iterator[str]:
    """Run what stands before it, as in production, where it is installed."""
    with pooled(postgresql) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return an empty database: a file, or one in a server."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/service.db"
        return
    server = sa.make_url(request.getfixturevalue("postgresql"))
    name = f"test_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
        before = sa.make_url(request.getfixturevalue("pooler"))
        yield before.set(database=name).render_as_string(hide_password=False)
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(scope="session")
def trained(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Return what `make train` makes, in a folder of its own.

    The first process to want it locks and trains, the others copy that.
    """
    from chassis.flights import PROJECT

    first, folder = shared / "trained flights", tmp_path_factory.mktemp("trained")
    with FileLock(f"{first}.lock"):
        if not first.exists():
            with testing.trained(PROJECT, folder):
                pass
            shutil.copytree(folder, first)
    shutil.copytree(first, folder, dirs_exist_ok=True)
    models, store = folder / "models", Store(PROJECT, f"sqlite:///{folder}/service.db")
    yield Trained(models, registry.load(models)[1], store)
    store.close()


@pytest.fixture(scope="session")
def object_storage() -> Iterator[Storage]:
    """Run a server that speaks S3."""
    with running() as server:
        yield server


@pytest.fixture(scope="session", params=[SERVE, BENTOML], ids=["production", "bentoml"])
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
