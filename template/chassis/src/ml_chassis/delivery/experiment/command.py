"""Analyse an A/B test: `make experiment INPUT=...`."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from ... import slo
from ...batch import ScoreError
from ...data.database import hide_password
from ...errors import UserError
from ...project import Project
from ...training.config import read
from . import report
from .analysis import analyse
from .reading import read_units

PAGE = Path("build/experiment/report.html")


def run(project: Project, source: str) -> int:
    """Say what is decided, and write a page about it; return the exit code."""
    try:
        if not source:
            raise ScoreError("Say what: make experiment INPUT=exposures.csv")
        plan, decision = slo.read().experiment, read(project).decision
        print(f"analysing {hide_password(source)}", flush=True)
        units = read_units(source, project.private)
    except UserError as error:
        print(f"\nNothing was analysed. {error}", file=sys.stderr)
        return 1
    if not plan.outcome_unit and plan.better == "higher" and decision:
        plan = plan.model_copy(update={"outcome_unit": decision.unit})
    found = analyse(plan, units, datetime.now(UTC).replace(tzinfo=None))
    report.write(PAGE, found, project.name)
    noted = (f"Note: {each}" for each in report.notes(found))
    print("", f"{report.TITLES[found.decision]}.", *report.sentences(found), *noted, PAGE, sep="\n")
    return 0
