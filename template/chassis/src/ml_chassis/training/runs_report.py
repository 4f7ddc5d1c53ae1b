"""The page of `make runs`: what was tried, and what it was worth."""

from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from ..contract import Contract
from ..reports.chart import Axis, Series, draw, reach, reach_log
from ..reports.page import charts, heading, page, paragraph, table
from .log import Run

LOSS = "loss"
KINDS = ("train", "retrain", "optimise", "tune")
LONGEST = 1_000
WIDE = 30
"""From this ratio of the largest to the smallest on, the axis of a parameter is logarithmic."""


def render(contract: Contract, runs: Sequence[Run]) -> str:
    """Return the page, of the latest runs."""
    runs = runs[-LONGEST:]
    head, *rows = told(contract, runs)
    parts = [
        paragraph(
            "Compare losses of the same data and the same kind only: trainings and variants are "
            "evaluated on the later rows, trials by cross-validation on the training rows."
        ),
        charts(_charts(runs)),
        heading("All runs, the latest first"),
        table(head, rows),
    ]
    return page(f"Runs: {len(runs)}", True, parts)


def told(contract: Contract, runs: Sequence[Run]) -> list[list[str]]:
    """Return a table of text, its head first, then the runs, the latest first.

    Only those parameters and libraries have a column that are not the same in all runs.
    """
    parameters = differing([run.parameters for run in runs])
    surroundings = differing([run.environment for run in runs])
    fixed = ["at, UTC", "kind", "name", "commit", "data", "loss", contract.quality, "seconds"]
    lines = [[*fixed, *parameters, *surroundings, "outcome"]]
    for run in reversed(runs):
        lines.append(
            [
                f"{run.at:%Y-%m-%d %H:%M}",
                run.kind,
                run.name,
                run.code_version[:8] + ("*" if run.code_version.endswith("-dirty") else ""),
                run.data_sha256[:8],
                _number(run.measures.get(LOSS)),
                _number(run.measures.get(contract.quality)),
                f"{run.seconds:.1f}",
                *(_text(run.parameters.get(name)) for name in parameters),
                *(run.environment.get(name, "") for name in surroundings),
                run.outcome,
            ]
        )
    return lines


def differing(values: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names whose values are not the same everywhere."""
    names = dict.fromkeys(name for each in values for name in each)
    return [name for name in names if len({str(each.get(name)) for each in values}) > 1]


def _charts(runs: Sequence[Run]) -> Iterator[Markup]:
    numbered = [(number, run) for number, run in enumerate(runs, 1) if LOSS in run.measures]
    series = [
        Series(
            kind,
            [(number, run.measures[LOSS]) for number, run in numbered if run.kind == kind],
            "points",
        )
        for kind in KINDS
    ]
    across = Axis(0, len(runs) + 1, label="run")
    yield draw("Loss by run", series, [], across, _around(series))
    trials = [run for _, run in numbered if run.kind == "tune"]
    latest = [run for run in trials if run.study == trials[-1].study]
    for name in differing([run.parameters for run in latest]):
        points = [
            (float(value), run.measures[LOSS])
            for run in latest
            if isinstance(value := run.parameters.get(name), int | float)
        ]
        if points:
            trial = [Series("trial", points, "points")]
            below = _reach([value for value, _ in points])._replace(label=name)
            yield draw(f"Loss by {name}, latest study", trial, [], below, _around(trial))


def _around(series: Sequence[Series]) -> Axis:
    values = [value for each in series for _, value in each.points] or [0, 1]
    pad = 0.1 * (max(values) - min(values)) or 0.1
    return Axis(min(values) - pad, max(values) + pad)


def _reach(values: Sequence[float]) -> Axis:
    wide = min(values) > 0 and max(values) / min(values) > WIDE
    return reach_log(values) if wide else reach(values)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
