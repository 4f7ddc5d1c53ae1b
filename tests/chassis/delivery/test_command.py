"""A release behind a real gateway: it survives its controller, and does what a person says."""

import signal
from pathlib import Path

import pytest

from chassis import copies
from chassis.delivery.host import Host
from ml_chassis import registry
from ml_chassis.delivery import record

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # it trains twice, and releases several times
    pytest.mark.usefixtures("with_envoy"),
]


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
    assert "The release has not ended" in said

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
        (["challenger", "--do", "hold"], "Give one of VERSION, --image and --do"),
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
