"""One model, trained as `make train` does it, and one running service for all tests."""

from collections.abc import Iterator

import httpx
import pytest
from ml_chassis import testing
from ml_chassis.project import Project, read
from ml_chassis.testing import Trained


@pytest.fixture(scope="session")
def project() -> Project:
    """Return the parts of this service."""
    return read()


@pytest.fixture(scope="session")
def trained(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Train a model into a folder of its own."""
    with testing.trained(project, tmp_path_factory.mktemp("trained")) as found:
        yield found


@pytest.fixture(scope="session")
def address(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve it as a process of its own."""
    with testing.running_service(trained.models, tmp_path_factory.mktemp("bentoml")) as url:
        yield url


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    """Return a client of the service."""
    with httpx.Client(base_url=address, timeout=10, trust_env=False) as connected:
        yield connected
