"""Envoy, and a gateway in front of a champion, for tests of releases."""

import contextlib
import os
from collections.abc import Iterator

import pytest

from chassis import copies
from chassis.delivery.host import Host
from delivery.tools import envoy
from ml_chassis import project, registry, slo
from ml_chassis.delivery import record
from ml_chassis.delivery.demo import stage as stages
from ml_chassis.delivery.demo.stage import Stage
from ml_chassis.delivery.demo.traffic import Traffic
from ml_chassis.delivery.gateway import FOLDER, Gateway
from ml_chassis.observe.demo.copied import rows
from prometheus import tool

DECISION = """
[evaluation]
slices = ["origin"]
[decision]
action = "warn the passengers"
unit = "USD"
true_positive = 20
false_positive = -5
false_negative = 0
true_negative = 0
"""


@pytest.fixture(scope="session")
def with_envoy() -> None:
    """Let programs find it, as where it is installed."""
    os.environ["PATH"] = f"{envoy().parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="session")
def running(
    tmp_path_factory: pytest.TempPathFactory,
    with_envoy: None,  # noqa: ARG001 - it must be found
) -> Iterator[tuple[Stage, Gateway]]:
    """Run a gateway in a copy whose training is quick."""
    tool("prometheus")
    folder = tmp_path_factory.mktemp("host")
    copies.copied(folder)
    (folder / "training.toml").write_text(copies.TRAINING + copies.GATES + DECISION)
    with contextlib.chdir(folder):
        stage = stages.make(project.read(), slo.read(), folder / "build/canary/project")
    with stages.running(stage, stage.copy.folder / FOLDER) as gateway:
        yield stage, gateway


@pytest.fixture
def host(running: tuple[Stage, Gateway]) -> Iterator[Host]:
    """Ask it all the time; no request may fail, whatever a test does. Then the champion is back."""
    stage, gateway = running
    (gateway.folder / record.RELEASE).unlink(missing_ok=True)
    with Traffic(gateway.addresses.service, rows(stage.copy), 100) as traffic:
        found = Host(stage, gateway, traffic)
        yield found
    assert not traffic.counts.failed, traffic.failures
    if found.champion != stage.champion:
        contract = stage.copy.project.contract
        registry.promote(contract, stage.copy.models, stage.champion, "of the next test")
