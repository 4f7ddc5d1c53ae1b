"""Search for better parameters: `make tune`.

Quasi-random search (Halton, 1960; scrambled): the trials cover the ranges more evenly than random
ones. Number n depends on the seed and on n alone, so a search that was stopped goes on where it
was, and a longer one begins with the same trials. Only training rows are used; the later ones
stay unseen, to judge what was found.
"""

import hashlib
import io
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import tomlkit
from pydantic import BaseModel, ValidationError
from scipy.stats import qmc

from .. import settings, storage
from ..data.store import open_store
from ..errors import UserError, describe
from ..measures import Values, mean_interval, measures_of
from ..project import Project
from . import estimator
from .config import CONFIG, ConfigError, Range, TrainingConfig, TuningConfig, Value, read
from .estimator import Dataset
from .log import Log, Run, describe_run, open_log
from .train import Rows, gather, origin, step

LOSS = "loss"
DIGITS = 3
BEST = 5


@dataclass(frozen=True)
class Search:
    """What is searched, checked."""

    config: TrainingConfig
    asked: TuningConfig
    trials: list[BaseModel]
    """Parameters of the estimator: those of training.toml first."""


def run(project: Project, apply_best: bool = False) -> int:
    """Search, and show what was found, or write it into training.toml; return the exit code."""
    try:
        configured = settings.read()
        search = plan(read(project))
        with open_store(project, configured) as store:
            rows = gather(search.config, store, configured.addresses, steps=3)
            step(3, f"try parameters on {search.asked.folds} parts of the training rows", 3)
            runs = tune(search, rows, open_log(store, configured))
        if not runs:
            raise ConfigError("No trial gave a finite loss: see [tuning] in training.toml.")
        best = show(search, rows.train, runs)
        if best and apply_best:
            apply(best)
    except UserError as error:
        print(f"\nNothing was changed. {error}", file=sys.stderr)
        return 1
    if best and apply_best:
        print(f"\nThey are in {CONFIG} now. Next: `make train`, which judges them on later rows.")
    elif best:
        print("\nNext: `make tune APPLY=yes` writes them, `make train` judges them on later rows.")
    return 0


def plan(config: TrainingConfig) -> Search:
    """Draw the parameters of all trials.

    Raises:
        ConfigError: [tuning] in training.toml is missing, names an unknown parameter, or has a
            range that the estimator does not take.
    """
    module, now = estimator.load(config)
    asked = config.tuning
    if asked is None:
        raise ConfigError(f"{CONFIG}: say in [tuning] what is to be tried.")
    known = module.Parameters.model_fields
    if unknown := [name for name in asked.parameters if name not in known]:
        raise ConfigError(
            f"[tuning.parameters] in {CONFIG}: {config.project.estimator_name} has no "
            f"{', '.join(unknown)}, only {', '.join(known)}."
        )
    ends = [
        {name: value}
        for name, range_ in asked.parameters.items()
        for value in (range_.choices or (range_.low, range_.high))
    ]
    drawn = draw(asked.parameters, config.seed, asked.trials - 1)
    try:
        for change in ends:
            module.Parameters.model_validate(config.parameters | change)
        trials = [module.Parameters.model_validate(config.parameters | each) for each in drawn]
    except ValidationError as error:
        raise ConfigError(f"[tuning.parameters] in {CONFIG}: {describe(error)}") from None
    return Search(config, asked, [now, *trials])


def draw(ranges: Mapping[str, Range], seed: int, trials: int) -> list[dict[str, Value]]:
    """Return the parameters of trials; more of them begin with the same."""
    points = qmc.Halton(len(ranges), rng=seed).random(trials)
    return [
        {name: _scale(each, at) for (name, each), at in zip(ranges.items(), point, strict=True)}
        for point in points.tolist()
    ]


def _scale(range_: Range, at: float) -> Value:
    """Return the value of a range at a place from 0 to 1."""
    low, high = range_.low, range_.high
    if low is None or high is None:
        return range_.choices[int(at * len(range_.choices))]
    whole = isinstance(low, int) and isinstance(high, int)
    if range_.log:
        value = low * (high / low) ** at
    else:
        value = low - 0.5 + at * (high - low + 1) if whole else low + at * (high - low)
    value = round(value) if whole else float(f"{value:.{DIGITS}g}")
    return min(max(value, low), high)


def tune(search: Search, rows: Rows, log: Log) -> list[Run]:
    """Do the trials that were not done yet, and return all that have a finite loss."""
    config, asked = search.config, search.asked
    made_from = origin(config, rows, estimator.load(config)[0])
    study = _study(search, made_from)
    done = {_key(run.parameters): run for run in log.read(study)}
    if done:
        print(f"      {len(done)} trials were done before")
    begun = monotonic()
    for number, parameters in enumerate(search.trials, 1):
        name, tried = f"trial {number}", parameters.model_dump()
        if _key(tried) in done:
            continue
        if monotonic() - begun > asked.seconds:
            print(f"      {asked.seconds:g} seconds are over: `make tune` goes on from here")
            break
        start = monotonic()
        loss = float(validation_losses(config, parameters, rows.train, asked.folds).mean())
        outcome = "tried" if math.isfinite(loss) else "no finite loss"
        seconds, found = monotonic() - start, {LOSS: loss}
        run = describe_run(
            config.project, "tune", name, outcome, seconds, made_from, tried, found, study
        )
        log.add(run)
        done[_key(tried)] = run
        best = min((_loss(each) for each in done.values()), default=math.nan)
        print(f"      {name} of {asked.trials}: {loss:.4f}, best {best:.4f}", flush=True)
    return [run for run in done.values() if math.isfinite(_loss(run))]


def validation_losses(
    config: TrainingConfig, parameters: BaseModel, train: Dataset, folds: int
) -> Values:
    """Return the loss of rows on a model that was fitted to others.

    The rows are cut by time into one part more than there are folds; each part but the first is
    predicted by a model of all parts before it. Rows that know no time are cut at random, and each
    part but the first is predicted by a model of all others.

    Args:
        config: What training.toml says.
        parameters: Those of the models.
        train: Rows for training, in the order of time.
        folds: How many models are fitted.

    Raises:
        ConfigError: a model would be fitted to one value of the label only.
    """
    module, _ = estimator.load(config)
    by, found = measures_of(train.contract.task), []
    for fitted, predicted in _folds(train, folds, config.seed):
        if len(np.unique(fitted.label)) < 2:
            raise ConfigError(f"[tuning] in {CONFIG}: the first of the parts has one label only.")
        with redirect_stdout(io.StringIO()):  # each trial has a line of its own
            model = module.fit(fitted, parameters, config.seed)
        answers = model.predict(predicted.numeric, predicted.categorical)
        found.append(by.losses(predicted.label, answers))
    return np.concatenate(found)


def _folds(train: Dataset, folds: int, seed: int) -> Iterator[tuple[Dataset, Dataset]]:
    """Yield the rows that a model is fitted to, and those that it predicts."""
    order = np.arange(len(train))
    if train.time is None:
        order = np.random.default_rng(seed).permutation(order)
    ends = np.linspace(0, len(train), folds + 2).astype(int)[1:]
    for end, next_end in pairwise(ends):
        others = order[:0] if train.time is not None else order[next_end:]
        yield train[np.concatenate([order[:end], others])], train[order[end:next_end]]


def show(search: Search, train: Dataset, runs: list[Run]) -> dict[str, Any] | None:
    """Print the best trials; return the parameters of the best, None where it is that of now."""
    ranked = sorted(runs, key=_loss)
    names = list(search.asked.parameters)
    lines = [["", "loss", *names]]
    for run in ranked[:BEST]:
        lines.append(
            [run.name, f"{_loss(run):.4f}", *(str(run.parameters[name]) for name in names)]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print()
    for line in lines:
        print("  ".join(map(str.ljust, line, widths)).rstrip())
    now, best = search.trials[0], type(search.trials[0]).model_validate(ranked[0].parameters)
    if best == now:
        print(f"\nThose in {CONFIG} are the best of {len(runs)} trials. Nothing to change.")
        return None
    folds = search.asked.folds
    others = [validation_losses(search.config, each, train, folds) for each in (now, best)]
    gain = mean_interval(others[0] - others[1])
    chance = "" if gain.low > 0 else ", which may be chance"
    print(f"\nThe best is lower than that of {CONFIG} by {gain}{chance}. Under [parameters]:\n")
    changed = {name: ranked[0].parameters[name] for name in names}
    for name, value in changed.items():
        print(f"{name} = {tomlkit.item(value).as_string()}  # was {getattr(now, name)}")
    return changed


def apply(changed: Mapping[str, Any], path: Path = CONFIG) -> None:
    """Put parameters into training.toml; comments and everything else stay as they are."""
    document = tomlkit.parse(path.read_text(encoding="utf-8-sig"))
    table: Any = document["parameters"]
    for name, value in changed.items():
        table[name] = value
    storage.write(path.parent, path.name, tomlkit.dumps(document).encode())


def _loss(run: Run) -> float:
    return run.measures.get(LOSS, math.inf)


def _key(parameters: Mapping[str, Any]) -> str:
    return json.dumps(parameters, sort_keys=True)


def _study(search: Search, made_from: Mapping[str, Any]) -> str:
    """Return what is equal for trials that can be compared."""
    config, asked = search.config, search.asked
    ranges = {name: each.model_dump() for name, each in asked.parameters.items()}
    fixed = {name: value for name, value in config.parameters.items() if name not in ranges}
    about = [
        config.project.estimator_name,
        config.seed,
        str(config.test_from or config.test_share),
        fixed,
        ranges,
    ]
    facts = [made_from["data_sha256"], made_from["schema_sha256"], made_from["packages"]]
    text = json.dumps([*about, asked.folds, *facts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
