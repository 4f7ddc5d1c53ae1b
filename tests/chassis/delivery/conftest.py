"""Envoy, for tests of releases."""

import os

import pytest

from delivery.tools import envoy


@pytest.fixture(scope="session")
def with_envoy() -> None:
    """Let programs find it, as where it is installed."""
    os.environ["PATH"] = f"{envoy().parent}{os.pathsep}{os.environ['PATH']}"
