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
from .copied import rows
from .people import People, Told
from .scene import drifted, let_come, make
from .traffic import Traffic
from .world import (
    PATIENCE_SECONDS,
    NotSoError,
    World,
    default_settings,
    require_all,
    running_world,
)

ENOUGH_ROWS = 2 * drift.LEAST_ROWS


def play(project: Project, configured: Settings, stated: Slo, folder: Path, shown: str) -> int:
    """Play it, and write a page about it; return the exit code.

    Args:
        project: The project in the working folder.
        configured: Of this process; the story takes from it where the page is shown, and where
            the rows of the project are.
        stated: The objectives.
        folder: Of the copy of the project in which all takes place.
        shown: Address of the page, as a browser on this machine opens it.

    Raises:
        UserError: a program is missing, or the project cannot be used for it.
    """
    parts, begun = list[ending.Part](), time.time()

    def begin(text: str) -> None:
        parts.append(ending.Part(time.time(), text))
        step(len(parts), text, len(PARTS) + 1)

    def say(told: Told) -> None:
        at = ending.clock(told.at - begun)
        print(f"      {at}  {told.receiver}: {told.sentence}", flush=True)

    require_all()
    with default_settings():
        begin(f"Train a model in {folder}.")
        scene, people = make(project, folder), People(say)
        patience = max(PATIENCE_SECONDS, 10 * (time.time() - begun))
        with (
            running_world(scene, people, configured, stated, patience) as world,
            Traffic(lambda: world.service.url, rows(scene.copy)) as traffic,
        ):
            print(f"      {shown} shows it while it goes on.", flush=True)
            failed = ""
            try:
                for text, part in PARTS.items():
                    begin(text.format(**scene.change._asdict()))
                    part(world, traffic)
            except UserError as error:
                failed = str(error)
                print(f"      {failed}")
            asked = traffic.counts.sentence
            path = ending.write(world, stated, parts, asked, failed)
    print(f"\n{asked}\nA minute of the rules was a second. What fired when, and the plots: {path}")
    return 1 if failed else 0


def _healthy(world: World, traffic: Traffic) -> None:
    version = world.service.champion
    world.wait_until(
        lambda: world.rows(version) >= ENOUGH_ROWS and traffic.labels > 0,
        "rows and labels are counted",
    )


def _failure(world: World, _: Traffic) -> None:
    def paged(**labels: str) -> bool:
        return bool(world.people.firing(severity="page", **labels))

    name = "ModelServiceDegraded" if world.service.falls_back else "ModelServiceAbsent"
    with world.service.without_model():
        world.wait_until(lambda: paged(alertname=name), f"{name} wakes somebody")
    world.wait_until(lambda: not paged(), "no page fires")


def _drift(world: World, traffic: Traffic) -> None:
    let_come(world.scene)
    world.retrainer.start()
    traffic.ask(drifted(world.scene, traffic.rows))
    world.wait_until(lambda: bool(world.people.firing(**RETRAIN)), "the drift is told")


def _retraining(world: World, _: Traffic) -> None:
    world.wait_until(lambda: bool(world.retrainer.last().get("ended_at")), "a retraining has ended")
    found = world.retrainer.last()
    print(f"      {found['outcome']}: {found['reason']}")
    if found["outcome"] != "promoted":
        raise NotSoError(
            f"The challenger was not promoted ({found['outcome']}): the drift goes on."
        )


def _recovery(world: World, _: Traffic) -> None:
    version = world.service.champion
    world.wait_until(lambda: world.rows(version) >= ENOUGH_ROWS, "the service follows")
    world.wait_until(lambda: not world.drifted(version), "nothing has drifted for the new champion")
    world.wait_until(lambda: not world.people.firing(**RETRAIN), "the alerts on drift end")


PARTS: dict[str, Callable[[World, Traffic], None]] = {
    "Healthy traffic, and the labels of what was predicted.": _healthy,
    "The registry is damaged, and another replica starts; then it is repaired.": _failure,
    "{feature} drifts: {share:.0%} of the rows that are asked have {value}.": _drift,
    "An alert asks for a retraining, on the rows that came meanwhile.": _retraining,
    "The service follows the new champion.": _recovery,
}
"""What happens, by what is said of it."""
