"""Analyse an A/B test: `make experiment`, of services or of what INPUT holds."""

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from ... import settings, slo
from ...data.database import hide_password
from ...decision import Decision
from ...errors import UserError
from ...feedback.store import utc_now
from ...project import Project
from ...settings import PREFIX, Settings
from ...slo import Experiment
from ...training.config import read
from . import report
from .analysis import analyse
from .reading import read_units
from .served import Served, read_served

PAGE = Path("build/experiment/report.html")


def run(project: Project, source: str) -> int:
    """Say what is decided, and write a page about it; return the exit code.

    Args:
        project: Of the working folder.
        source: File or table of exposures; "" is what services have kept.
    """
    now, begun, notes = utc_now(), None, list[str]()
    try:
        decision = read(project).decision
        if source:
            print(f"analysing {hide_password(source)}", flush=True)
            plan, units = slo.read().experiment, read_units(source, project.private)
        else:
            configured = settings.read()
            served = _read_served(project, configured)
            notes = [*_notes(served, decision, now - timedelta(days=configured.feedback_days))]
            plan, units, begun, decision = served.plan, served.units, served.begun, served.decision
    except UserError as error:
        print(f"\nNothing was analysed. {error}", file=sys.stderr)
        return 1
    found = analyse(_with_unit(plan, decision), units, now, begun)
    notes += report.notes(found)
    report.write(PAGE, found, project.name, notes)
    noted = (f"Note: {each}" for each in notes)
    print("", f"{report.TITLES[found.decision]}.", *report.sentences(found), *noted, PAGE, sep="\n")
    return 0


def _read_served(project: Project, configured: Settings) -> Served:
    url = configured.feedback_url.get_secret_value()
    if not url:
        raise UserError(f"{PREFIX}FEEDBACK_URL: set it to that of the service, or give INPUT.")
    served = read_served(project.contract, url, configured.experiment)
    print(f"analysing {served.name}", flush=True)
    return served


def _notes(served: Served, decision: Decision | None, forgotten: datetime) -> Iterator[str]:
    """Yield what is odd about the services."""
    if served.failed:
        yield (
            f"{served.failed:.2%} of the challenger's answers were the champion's, as it failed: "
            "these units count for the challenger all the same."
        )
    if served.others:
        yield (
            f"{', '.join(served.others)} answered, too: the test began with other models. Begin "
            "another one, with another name."
        )
    if slo.planned() != served.plan or decision != served.decision:
        yield (
            "experiment in slo.yaml, or [decision] in training.toml, is another one by now; what "
            "was declared in the beginning counts."
        )
    if served.begun < forgotten:
        yield f"What was kept in the first days is deleted by now: {PREFIX}FEEDBACK_DAYS."


def _with_unit(plan: Experiment, decision: Decision | None) -> Experiment:
    if plan.outcome_unit or plan.better == "lower" or not decision:
        return plan
    return plan.model_copy(update={"outcome_unit": decision.unit})
