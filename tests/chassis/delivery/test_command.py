"""A release behind a real gateway: it survives its controller, and does what a person says."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from chassis import copies
from ml_chassis import project, registry, slo
from ml_chassis.delivery import record
from ml_chassis.delivery.demo import stage as stages
from ml_chassis.delivery.demo.stage import Stage
from ml_chassis.delivery.demo.traffic import Traffic
from ml_chassis.delivery.gateway import FOLDER, Gateway
from ml_chassis.delivery.record import Release
from ml_chassis.observe.demo.copied import rows
from prometheus import tool
from waiting import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # it trains twice, and releases several times
    pytest.mark.usefixtures("with_envoy"),
]

RELEASE = """
import sys
from ml_chassis import project
from ml_chassis.delivery import command
from ml_chassis.delivery.demo.stage import PACE
sys.path.insert(0, "src")
sys.exit(command.release(project.read(), sys.argv[1], PACE))
"""
"""`chassis canary VERSION`, in which a minute is two seconds."""


class Host(NamedTuple):
    """A gateway with traffic, in front of a champion; there is a challenger."""

    stage: Stage
    gateway: Gateway
    traffic: Traffic

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.stage.copy.environment}

    def release(self, version: str = "") -> subprocess.Popen[str]:
        """Start to release the challenger, or another version."""
        command = [sys.executable, "-c", RELEASE, version or self.stage.challenger]
        return subprocess.Popen(
            command,
            cwd=self.stage.copy.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def chassis(self, *arguments: str) -> tuple[int, str]:
        """Run a command in the copy; return its exit code, and what it said."""
        command = [sys.executable, "-m", "ml_chassis", *arguments]
        done = subprocess.run(
            command,
            cwd=self.stage.copy.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def wait(self, condition: Callable[[Release], bool], what: str) -> None:
        """Wait until something is so of the release."""

        def holds() -> bool:
            known = record.read(self.gateway.folder)
            return known is not None and condition(known)

        wait_for(holds, what)

    def wait_for_step(self, step: int) -> None:
        """Wait until the canary gets requests in a step, by its number from 0."""
        self.wait(lambda known: (known.step, known.phase) == (step, "stepping"), f"step {step}")

    @property
    def champion(self) -> str:
        return registry.history(self.stage.copy.models)[0]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Gateway]]:
    """Run a gateway in a copy whose training is quick."""
    tool("prometheus")
    folder = tmp_path_factory.mktemp("host")
    copies.copied(folder)
    (folder / "training.toml").write_text(copies.TRAINING + copies.GATES)
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


def test_a_release_survives_its_controller_in_any_step(host: Host) -> None:
    for step in range(3):
        controller = host.release()
        host.wait_for_step(step)
        controller.send_signal(signal.SIGKILL)
        controller.communicate()
    known = record.read(host.gateway.folder)
    assert known is not None
    assert (known.phase, known.step) == ("stepping", 2)
    said, _ = (last := host.release()).communicate()
    assert last.returncode == 0, said
    assert f"{host.stage.challenger} was promoted" in said
    assert host.champion == host.stage.challenger
    assert (host.gateway.folder / "release.html").exists()
    assert host.traffic.versions.keys() == {host.stage.champion, host.stage.challenger}


def test_what_was_decided_is_done_by_the_next_controller(host: Host) -> None:
    begun = record.began(host.stage.challenger, host.stage.champion, [50])
    decided = begun.with_event(begun.begun, "decided", phase="promoting")
    record.write(host.gateway.folder, decided)
    said, _ = (controller := host.release()).communicate()
    assert controller.returncode == 0, said
    assert host.champion == host.stage.challenger


def test_a_person_holds_and_aborts(host: Host) -> None:
    controller = host.release()
    host.wait(lambda known: known.phase == "stepping", "the canary is ready")
    code, said = host.chassis("canary", "--do", "hold")
    assert (code, "hold is told" in said) == (0, True), said
    host.wait(lambda known: known.held, "it is held")

    code, said = host.chassis("canary", host.stage.challenger)
    assert (code, "is under way" in said) == (1, True), said

    host.chassis("canary", "--do", "abort")
    said, _ = controller.communicate()
    assert controller.returncode == 1
    assert "was rolled back: aborted" in said
    assert host.champion == host.stage.champion


def test_a_person_promotes(host: Host) -> None:
    controller = host.release()
    host.wait(lambda known: known.phase == "stepping", "the canary is ready")
    host.chassis("canary", "--do", "promote")
    said, _ = controller.communicate()
    assert controller.returncode == 0, said
    assert host.champion == host.stage.challenger


def test_a_champion_that_others_name_meanwhile_stays(host: Host) -> None:
    contract, models = host.stage.copy.project.contract, host.stage.copy.models
    begun = record.began(host.stage.challenger, "20200101T000000Z-00000000", [50])
    record.write(host.gateway.folder, begun.model_copy(update={"phase": "promoting"}))
    said, _ = (controller := host.release()).communicate()
    assert controller.returncode == 1, said
    assert "the champion was changed meanwhile" in said
    assert host.champion == host.stage.champion

    made = begun.model_copy(update={"phase": "promoting", "made": True})
    record.write(host.gateway.folder, made)
    registry.promote(contract, models, host.stage.champion, "somebody rolled it back")
    said, _ = (controller := host.release()).communicate()
    assert controller.returncode == 1, said
    assert host.champion == host.stage.champion


def test_what_was_decided_can_be_aborted_where_nobody_does_it(host: Host) -> None:
    begun = record.began(host.stage.challenger, host.stage.champion, [50])
    record.write(host.gateway.folder, begun.model_copy(update={"phase": "promoting"}))
    code, said = host.chassis("canary", "--do", "abort")
    assert (code, "is rolled back" in said) == (0, True), said
    known = record.read(host.gateway.folder)
    assert known is not None
    assert known.reasons == ["aborted"]


def test_an_interrupted_release_waits_for_the_same_command(host: Host) -> None:
    controller = host.release()
    host.wait(lambda known: known.phase == "stepping", "the canary is ready")
    controller.send_signal(signal.SIGINT)
    said, _ = controller.communicate()
    assert "Stable answers all requests" in said

    code, said = host.chassis("canary", host.stage.champion)
    assert code == 1
    assert f"The release of {host.stage.challenger} has not ended" in said
    code, said = host.chassis("canary", "--do", "hold")
    assert (code, f"First: make canary VERSION={host.stage.challenger}" in said) == (1, True), said
    code, said = host.chassis("canary", "--do", "abort")
    assert code == 0, said
    code, said = host.chassis("canary", "--do", "abort")
    assert (code, "No release is under way" in said) == (1, True), said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["{champion}"], "is the champion already"),
        (["20200101T000000Z-00000000"], "20200101T000000Z-00000000"),
        (["nobody"], "No model 'nobody'"),
        (["--do", "run"], "DO: give one of hold, resume, promote, abort"),
        (["challenger", "--do", "hold"], "Give VERSION or --do, not both"),
    ],
)
def test_what_cannot_be_released_is_told(host: Host, arguments: list[str], named: str) -> None:
    given = [each.format(champion=host.stage.champion) for each in arguments]
    code, said = host.chassis("canary", *given)
    assert code != 0
    assert named in said
    assert "Traceback" not in said
    assert record.read(host.gateway.folder) is None


def test_without_a_gateway_it_is_said_how_to_start_one(tmp_path: Path) -> None:
    copies.copied(tmp_path)
    done = copies.run(tmp_path, "-m", "ml_chassis", "canary", "challenger")
    assert done.returncode == 1
    assert "make gateway" in done.stderr
