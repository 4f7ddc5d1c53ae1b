"""Show the log of runs: `make runs`."""

import sys
from pathlib import Path

from .. import settings
from ..data.store import open_store
from ..errors import UserError
from ..project import Project
from ..reports.page import write
from .log import Log
from .runs_report import render, told

REPORT = Path("build/runs/report.html")
SHOWN = 20


def run(project: Project) -> int:
    """Print the latest runs and write a page of all; return the exit code."""
    try:
        with open_store(project, settings.read()) as store:
            runs = Log(store).read()
    except UserError as error:
        print(f"There is no log. {error}", file=sys.stderr)
        return 1
    if not runs:
        print("Nothing was run yet. Next: `make train`.")
        return 0
    lines = told(project.contract, runs)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in (lines[0], *lines[1 : SHOWN + 1]):
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())
    write(REPORT, render(project.contract, runs))
    shown = f"The last {SHOWN} of {len(runs)}. " if len(runs) > SHOWN else ""
    print(f"\n{shown}All, with charts: {REPORT}.")
    return 0
