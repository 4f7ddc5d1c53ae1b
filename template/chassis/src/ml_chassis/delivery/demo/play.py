"""A good release and bad ones with real traffic, in minutes on one machine: `make canary`."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ...observe.demo.copied import rows
from ...observe.demo.world import default_settings
from ...observe.prometheus import Prometheus
from ...observe.servers import PROMETHEUS, find
from ...project import Project
from ...slo import Slo
from ...training.train import step
from .. import record, report
from ..candidate import Candidate
from ..controller import Controller
from ..display import Display
from ..envoy import ENVOY, GET
from ..gateway import Gateway
from ..report import Entry
from ..stable import Follower
from . import stage as stages
from .faults import FAULTS, Fault
from .stage import PACE, Stage
from .traffic import Traffic

FOLDER = Path("build/canary")
RATE = 100
"""Requests a second."""


def play(project: Project, stated: Slo, faults: Sequence[Fault] = (*FAULTS,)) -> int:
    """Play them in a copy of the project, and write pages about them; return the exit code.

    Args:
        project: The project in the working folder.
        stated: Its objectives.
        faults: Of the bad ones, in their order; the good one is the last.

    Raises:
        UserError: a program is missing, or the project cannot be used for it.
    """
    find(ENVOY, GET)
    find(PROMETHEUS)
    begun, steps = time.monotonic(), len(faults) + 2
    with default_settings():
        step(1, f"Train two models in {FOLDER}/project.", steps)
        stage = stages.make(project, stated, FOLDER / "project")
        played = list[Entry]()
        with (
            stages.running(stage, FOLDER / "gateway") as gateway,
            Traffic(gateway.addresses.service, rows(stage.copy), RATE) as traffic,
        ):
            for number, fault in enumerate((*faults, None), start=2):
                wrong = FAULTS[fault] if fault else ""
                step(number, f"A canary: {wrong or 'nothing is wrong with it'}.", steps)
                played.append(_release(stage, gateway, fault, traffic))
    return _end(played, traffic, time.monotonic() - begun)


def _release(stage: Stage, gateway: Gateway, fault: Fault | None, traffic: Traffic) -> Entry:
    """Release the challenger, and write a page about that."""
    before, job = traffic.counts, stage.job
    server = Prometheus(gateway.addresses.prometheus)
    begun = record.began(stage.challenger, stage.champion, stage.stated.release.weights)
    with Display(job, begun, PACE, stage.stated.release.least_requests) as display:
        controller = Controller(
            gateway,
            Candidate(gateway, stage.canary(fault), stage.challenger),
            Follower(gateway, stage.copy.project.contract, stage.copy.models),
            PACE,
            display.show,
        )
        ended = controller.run(begun)
    page = FOLDER / f"{fault or 'good'}.html"
    report.write(page, server, stage.stated, job, ended, fault or "good")
    requests = sum(traffic.counts) - sum(before)
    failed = traffic.counts.failed - before.failed
    return Entry(fault or "good", FAULTS[fault] if fault else "", ended, requests, failed, page)


def _end(played: Sequence[Entry], traffic: Traffic, seconds: float) -> int:
    """Say what became of all, and return the exit code."""
    page = report.index(FOLDER / "index.html", played)
    print()
    for each in played:
        why = f": {', '.join(each.release.reasons)}" if each.release.reasons else ""
        print(f"  {each.name:10} {each.release.phase}{why}")
    print(
        f"\n{traffic.counts.sentence} {seconds:.0f} seconds. What happened, and the plots: {page}"
    )
    for failure in traffic.failures:
        print(f"  failed: {failure}", file=sys.stderr)
    as_it_should = all(
        each.release.phase == ("rolled back" if each.wrong else "promoted") for each in played
    )
    return 0 if as_it_should and not traffic.counts.failed else 1
