"""Make this the project for another table: `make adopt`."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..project import Project
from ..settings import PREFIX
from . import AdoptError
from .look import look
from .plan import Plan
from .stage import BEFORE, adopt

ELSEWHERE = tuple(f"{PREFIX}{name}" for name in ("DATABASE_URL", "MODELS_DIR", "SOURCES"))
"""Settings of what is outside the folder, and so stays as it is."""
WIDTH = 40
"""Of the first column that is printed, at most."""
NEXT = """
This is the project of {data} now. Next:
- read src/model_service/schema.py: its bounds say what is possible, as far as a file can tell;
- look at build/training/report.html, and ask in training.toml for the quality that you need;
- say in README.md and pyproject.toml what it predicts;
- complete docs/model-card.md and data/README.md;
- commit, and run `make train`, so that the model is of a known commit; then `make check`;
- start the service again, if it runs: `make serve`. What was replaced is in {before}
  until the next adoption or `make clean`."""


class Wish(NamedTuple):
    """What is adopted, as it was asked for.

    Attributes:
        data: A file of comma-separated values.
        target: The column to predict.
        time: The column that says when a row is about.
        task: "classification" or "regression"; "" where the column decides.
        keep: Columns that become features in any case, with commas between them.
        leave_out: Columns that become none.
    """

    data: str
    target: str
    time: str = ""
    task: str = ""
    keep: str = ""
    leave_out: str = ""


def run(project: Project, given: Wish) -> int:
    """Look at the table, say what was decided, and adopt it; return the exit code."""
    try:
        if not (given.data and given.target):
            raise AdoptError("Say which file and column: make adopt DATA=file.csv TARGET=column")
        keep, leave_out = _names(given.keep), _names(given.leave_out)
        plan = look(
            Path(given.data), given.target, given.time or None, given.task or None, keep, leave_out
        )
        print("\n".join(describe(plan)), flush=True)
        adopt(project, plan)
    except UserError as error:
        print(f"Nothing was changed. {error}", file=sys.stderr)
        return 1
    print(NEXT.format(data=plan.data.name, before=BEFORE))
    if elsewhere := [name for name in ELSEWHERE if os.environ.get(name)]:
        print(f"What {', '.join(elsewhere)} names was not touched: run `make train` for it.")
    return 0


def describe(plan: Plan) -> list[str]:
    """Return what was found out, as lines for a terminal."""
    features = [
        (each.column, f"feature {each.name}: {_values(each.type, each.choices)}")
        for each in plan.features
    ]
    rows = [
        (plan.label.column, f"predicted, as {plan.label.name}: {plan.label.task}"),
        *features,
        *((each.column, f"left out: {each.words}") for each in plan.left_out),
        *((name, "names the row") for name in plan.key),
        *([(plan.time, "says when a row is about")] if plan.time else []),
    ]
    width = min(WIDTH, max(len(column) for column, _ in rows))
    return [
        f"{plan.data}: {plan.rows:,} rows with {plan.label.column}",
        *(f"  {column:{width}}  {text}" for column, text in rows),
        *(f"- {note}" for note in plan.notes),
    ]


def _values(kind: type, choices: tuple[str, ...] | None) -> str:
    if choices:
        return f"one of {len(choices)}"
    return {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[kind]


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())
