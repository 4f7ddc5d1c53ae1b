"""The first model of an adopted table, from which its gates follow; run in the stage."""

import sys
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic
from typing import cast

import polars as pl

from .. import compatibility, reference, settings
from .. import project as projects
from ..contract import Contract
from ..data.pipeline import say, update
from ..data.store import Store, open_store
from ..errors import UserError
from ..project import Project
from ..reports.page import write
from ..storage import Root
from ..training import card, report, train
from ..training.candidate import Candidate
from ..training.config import CONFIG, TrainingConfig, read
from ..training.gates import judge
from ..training.log import open_log
from . import AdoptError, configuration
from .configuration import Split
from .gates import derive

EVALUATED = 0.25
"""Share of the rows for evaluation: the newest ones, where rows have a time."""


def main() -> int:
    """Read the data, train, write what follows from it, register; return the exit code."""
    try:
        configured, project = settings.read(), projects.read()
        with open_store(project, configured) as store:
            begun = monotonic()
            print("Reading the data", flush=True)
            say(update(project, store))
            config, candidate = learn(store, configured.models_dir)
            write(train.REPORT, report.render(config, candidate))
            log = open_log(store, configured)
            manifest = train.conclude(candidate, configured.models_dir, log, begun)
        card.write(config, candidate, manifest)
        reference.write(project)
        compatibility.write(compatibility.interface(project))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def learn(store: Store, models: Root) -> tuple[TrainingConfig, Candidate]:
    """Fit a model, write training.toml with gates from what it reaches, and judge it by them.

    Raises:
        AdoptError: there are no rows, or nothing was learnt from them.
    """
    frame = store.features()
    if frame.is_empty():
        raise AdoptError("No row has a label and features that can be read.")
    project = store.project
    split, before = _split(project, frame), CONFIG.read_text(encoding="utf-8")
    count = round(len(frame) * (1 - EVALUATED))
    CONFIG.write_text(configuration.render(before, split, count), encoding="utf-8")
    config = read(project)
    rows = train.split(config, store)
    candidate = train.fit(config, rows, models)
    found, measures = candidate.evaluation, candidate.facts["metrics"]
    scale, largest = _size(project.contract, frame[project.contract.label])
    asked = derive(project.contract, found, measures, scale, largest)
    text = configuration.render(
        before,
        split,
        count,
        gain=found.gains["base_rate"].value,
        difference=1e-5 * max(largest, 1),
        gates=asked,
    )
    CONFIG.write_text(text, encoding="utf-8")
    config = read(project)
    judged = judge(measures, config.gates)
    for gate in judged:
        print(f"      {gate}")
    for each in asked:
        if each.limit is None:
            print(f"      not asked: {each.name}. {each.reason}")
    facts = candidate.facts | train.made_from(config, rows.fingerprint)
    return config, replace(candidate, gates=judged, facts=facts)


def _split(project: Project, frame: pl.DataFrame) -> Split:
    """Return how to split: by time where rows have one."""
    if project.time is None:
        return Split(None, EVALUATED, 0)
    times = frame[project.time].sort()
    newest = cast(datetime, times[-1])
    day = cast(datetime, times[int(len(times) * (1 - EVALUATED))]).date()
    if day == cast(datetime, times[0]).date():
        day += timedelta(days=1)
    return Split(day, None, max(1, (newest.date() - day).days + 1))


def _size(contract: Contract, label: pl.Series) -> tuple[float, float]:
    """Return the deviation of a numeric label, and its greatest distance from 0."""
    if contract.task != "regression":
        return 1.0, 1.0
    values = label.cast(pl.Float64)
    return float(values.std() or 0), float(values.abs().max() or 0)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
