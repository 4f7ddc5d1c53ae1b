"""Bring the rows with features up to date: `make data`."""

import sys
from pathlib import Path

from .. import settings
from ..errors import UserError
from ..project import Project
from ..reports.page import write
from .pipeline import say, update
from .report import render
from .store import open_store

REPORT = Path("build/data/report.html")


def run(project: Project, limit: float | None, replay: bool = False) -> int:
    """Read what is new, build what it concerns, write a report; return the exit code.

    Args:
        project: Whose rows.
        limit: The share of refused rows that the gate of training allows, shown in the report.
        replay: Also read rows in quarantine again.
    """
    try:
        configured = settings.read()
        with open_store(project, configured) as store:
            say(update(project, store, configured.addresses, replay))
            text = render(project, store, limit)
    except UserError as error:
        print(f"\nThe data is not up to date. {error}", file=sys.stderr)
        return 1
    write(REPORT, text)
    print(f"\nWhat came in, and what was refused and why: {REPORT}. Next: `make train`.")
    return 0
