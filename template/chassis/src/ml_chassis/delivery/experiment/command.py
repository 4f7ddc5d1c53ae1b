"""Analyse an A/B test: `make experiment`, of services or of what INPUT holds."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ... import settings, slo
from ...data.database import hide_password
from ...decision import Decision
from ...errors import UserError
from ...project import Project
from ...settings import PREFIX
from ...slo import Experiment
from ...training.config import read
from . import report
from .analysis import Units, analyse
from .reading import read_units
from .served import Served, read_served

PAGE = Path("build/experiment/report.html")


def run(project: Project, source: str) -> int:
    """Say what is decided, and write a page about it; return the exit code.

    Args:
        project: Of the working folder.
        source: File or table of exposures; "" is what services have kept.
    """
    try:
        decision, notes = read(project).decision, list[str]()
        if source:
            print(f"analysing {hide_password(source)}", flush=True)
            plan, units = slo.read().experiment, read_units(source, project.private)
        else:
            served = _read_served(project, decision)
            plan, units, notes = served.plan, served.units, [*_notes(served)]
    except UserError as error:
        print(f"\nNothing was analysed. {error}", file=sys.stderr)
        return 1
    _tell(project.name, _with_unit(plan, decision), units, notes)
    return 0


def _read_served(project: Project, decision: Decision | None) -> Served:
    configured = settings.read()
    url = configured.feedback_url.get_secret_value()
    if not url:
        raise UserError(f"{PREFIX}FEEDBACK_URL: set it to that of the service, or give INPUT.")
    served = read_served(project.contract, url, configured.experiment, decision)
    print(f"analysing {served.name}", flush=True)
    return served


def _notes(served: Served) -> Iterator[str]:
    """Yield what is odd about the service."""
    if served.others:
        yield (
            f"{', '.join(served.others)} answered, too: the test began with other models. Begin "
            "another one, with another name."
        )
    if slo.planned() != served.plan:
        yield "experiment in slo.yaml is another plan by now; the one that was declared counts."


def _with_unit(plan: Experiment, decision: Decision | None) -> Experiment:
    if plan.outcome_unit or plan.better == "lower" or not decision:
        return plan
    return plan.model_copy(update={"outcome_unit": decision.unit})


def _tell(name: str, plan: Experiment, units: Units, notes: list[str]) -> None:
    found = analyse(plan, units, datetime.now(UTC).replace(tzinfo=None))
    notes = [*notes, *report.notes(found)]
    report.write(PAGE, found, name, notes)
    noted = (f"Note: {each}" for each in notes)
    print("", f"{report.TITLES[found.decision]}.", *report.sentences(found), *noted, PAGE, sep="\n")
