"""What happens to a service in days, in minutes on one machine: `make observe DEMO=yes`."""

import time
from collections.abc import Callable
from pathlib import Path

from ...errors import UserError
from ...monitoring.rules import drift
from ...monitoring.rules.rule import RETRAIN
from ...project import Project
from ...settings import Settings
from ...slo import Slo
from ...training.train import step
from . import ending
from .scene import drifted, let_come, make, rows
from .traffic import Traffic
from .world import People, Told, World, default_settings, running_world, wait_until

PATIENCE_SECONDS = 300
"""A laptop takes a tenth of it for the longest part."""
HEALTHY_ROWS = 2 * drift.LEAST_ROWS


def play(project: Project, configured: Settings, stated: Slo, folder: Path) -> int:
    """Play it, and write a page about it; return the exit code.

    Args:
        project: The project in the working folder.
        configured: Of this process; nothing but the address of the page is taken from it.
        stated: The objectives.
        folder: Of the copy of the project in which all takes place.

    Raises:
        UserError: a program is missing, or the project cannot be used for it.
    """
    parts, begun = list[ending.Part](), time.time()

    def begin(text: str) -> None:
        parts.append(ending.Part(time.time(), text))
        step(len(parts), text, len(PARTS) + 1)

    def say(told: Told) -> None:
        print(
            f"      {ending.clock(told.at - begun)}  {told.receiver}: {told.sentence}", flush=True
        )

    begin(f"Train a model in {folder}.")
    scene, people = make(project, folder), People(say)
    address = (configured.host, configured.observe_port)
    with (
        default_settings(),
        running_world(scene, stated, people, project.name, *address) as world,
        Traffic(lambda: world.service.url, rows(scene)) as traffic,
    ):
        print(f"      http://{address[0]}:{address[1]} shows it while it goes on.")
        failed = ""
        try:
            for text, part in PARTS.items():
                begin(text.format(**scene.change._asdict()))
                part(world, traffic)
        except UserError as error:
            failed = str(error)
            print(f"      {failed}")
        asked = traffic.counts.sentence
        path = ending.write(world, stated, project.name, parts, asked, failed)
    print(f"\n{asked}\nA minute of the rules was a second. What fired when, and the plots: {path}")
    return 1 if failed else 0


def _healthy(world: World, _: Traffic) -> None:
    version = world.champion()
    wait_until(lambda: world.rows(version) >= HEALTHY_ROWS, PATIENCE_SECONDS, "rows are counted")


def _failure(world: World, _: Traffic) -> None:
    def paged(**labels: str) -> bool:
        return bool(world.people.firing(severity="page", **labels))

    with world.service.without_model():
        name = "ModelServiceDegraded" if world.service.runs else "ModelServiceAbsent"
        wait_until(lambda: paged(alertname=name), PATIENCE_SECONDS, "somebody is woken")
    wait_until(lambda: not paged(), PATIENCE_SECONDS, "the page ends")


def _drift(world: World, traffic: Traffic) -> None:
    let_come(world.scene)
    traffic.ask(drifted(world.scene, rows(world.scene)))
    wait_until(lambda: bool(world.people.firing(**RETRAIN)), PATIENCE_SECONDS, "the drift is told")


def _retraining(world: World, _: Traffic) -> None:
    def ended() -> bool:
        return bool(world.retraining().get("ended_at"))

    wait_until(ended, PATIENCE_SECONDS, "the retraining ends")
    found = world.retraining()
    print(f"      {found['outcome']}: {found['reason']}")
    if found["outcome"] != "promoted":
        raise UserError("The champion stays, so the drift goes on.")


def _recovery(world: World, _: Traffic) -> None:
    version = world.champion()
    wait_until(
        lambda: world.rows(version) >= drift.LEAST_ROWS, PATIENCE_SECONDS, "the service follows"
    )
    wait_until(
        lambda: not world.people.firing(**RETRAIN), PATIENCE_SECONDS, "the alerts on drift end"
    )


PARTS: dict[str, Callable[[World, Traffic], None]] = {
    "Healthy traffic, and the labels of what was predicted.": _healthy,
    "The registry is damaged, and another replica starts; then it is repaired.": _failure,
    "{feature} drifts: {share:.0%} of the rows that are asked have {value}.": _drift,
    "An alert asks for a retraining, on the rows that came meanwhile.": _retraining,
    "The service follows the new champion.": _recovery,
}
"""What happens, by what is said of it."""
