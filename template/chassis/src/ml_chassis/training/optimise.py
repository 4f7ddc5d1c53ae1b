"""Make smaller and quicker variants of the model, and choose one: `make optimise`."""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from .. import registry, settings, storage
from ..data.store import open_store
from ..errors import UserError
from ..project import Project
from ..reports.page import write
from ..storage import Root
from . import card, estimator, optimisation_report
from .candidate import Candidate
from .config import CONFIG, ConfigError, OptimisationConfig, TrainingConfig, read
from .log import Run, describe_run, open_log
from .timing import ROUNDS
from .train import Rows, assess, conclude, gather, origin, step
from .variants import Measured, Variant, choose, make, measure

REPORT = Path("build/optimisation/report.html")


@dataclass(frozen=True)
class Optimisation:
    """What was measured of the variants, and what follows."""

    asked: OptimisationConfig
    measured: list[Measured]
    chosen: Measured
    sentence: str


def run(project: Project) -> int:
    """Choose a variant, and promote it when it meets every gate; return the exit code."""
    try:
        configured = settings.read()
        config, models = read(project), configured.models_dir
        storage.require_writable(models)
        asked = require(config)
        with open_store(project, configured) as store:
            log = open_log(store, configured)
            rows = gather(config, store, configured.addresses)
            begun = monotonic()
            found = optimise(config, asked, rows)
            write(
                REPORT,
                optimisation_report.render(
                    project.contract, found.asked, found.measured, found.sentence
                ),
            )
            print(f"      all of it: {REPORT}\n\n{found.sentence}")
            candidate = propose(config, rows, found, models)
            made_from = origin(config, rows, estimator.load(config)[0])
            for each in runs_of(project, found, candidate, made_from, monotonic() - begun):
                log.add(each)
            if candidate is None:
                same = "" if found.chosen is found.measured[0] else "It is the champion already. "
                print(f"{same}Nothing was changed.")
                return 0
            manifest = conclude(
                candidate, models, log, begun, "optimise", found.chosen.variant.name
            )
        card.write(config, candidate, manifest)
    except UserError as error:
        print(f"\nNothing was registered. {error}", file=sys.stderr)
        return 1
    print(f"\n{manifest.version} is the champion now. Next: `make serve`, or `make check`.")
    return 0


def require(config: TrainingConfig) -> OptimisationConfig:
    """Return [optimisation] of training.toml.

    Raises:
        ConfigError: it is not there.
    """
    if config.optimisation is None:
        raise ConfigError(f"{CONFIG}: say in [optimisation] what may be lost.")
    return config.optimisation


def optimise(
    config: TrainingConfig, asked: OptimisationConfig, rows: Rows, rounds: int = ROUNDS
) -> Optimisation:
    """Make the variants, measure them and choose one; see `variants`."""
    step(
        3, f"fit {config.project.estimator_name} on {len(rows.train)} rows, and make variants of it"
    )
    variants = list(make(config, rows.train, rows.test))
    step(4, f"time {len(variants)} variants side by side")
    measured = measure(config, asked, variants, rows.test, rounds)
    for each in measured:
        print(f"      {_line(each, asked.rows)}")
    chosen = choose(measured, asked.rows)
    return Optimisation(asked, measured, chosen, _sentence(asked, measured[0], chosen))


def propose(
    config: TrainingConfig, rows: Rows, found: Optimisation, models: Root
) -> Candidate | None:
    """Hold the chosen variant against the gates.

    Returns:
        What `train.register` takes; None where the full model is the best, or the chosen variant is
        the champion already.
    """
    variant = found.chosen.variant
    if found.chosen is found.measured[0] or _is_champion(variant, models):
        return None
    of_its_size = config.model_copy(update={"parameters": variant.parameters})
    candidate = assess(of_its_size, rows, variant.model, variant.graph, variant.exported, models)
    facts = {"config_sha256": config.fingerprint(), "variant": found.sentence}
    return replace(candidate, facts=candidate.facts | facts)


def runs_of(
    project: Project,
    found: Optimisation,
    candidate: Candidate | None,
    made_from: dict[str, Any],
    seconds: float,
) -> Iterator[Run]:
    """Yield a line of the log for every variant but the one that is still to be registered."""
    for each in found.measured:
        if candidate and each is found.chosen:
            continue
        variant = each.variant
        outcome = "is the best" if each is found.chosen else each.refused or "is not the fastest"
        measures = {
            "loss": each.loss,
            project.contract.quality: each.quality,
            "speedup": each.speedup.value,
        }
        measures["kilobytes"] = len(variant.graph) / 1e3
        about = (variant.name, outcome, seconds, made_from, variant.parameters, measures)
        yield describe_run(project, "optimise", *about)


def _is_champion(variant: Variant, models: Root) -> bool:
    with suppress(registry.RegistryError):
        champion = registry.load(models)[1].model_sha256
        return champion == hashlib.sha256(variant.graph).hexdigest()
    return False


def _sentence(asked: OptimisationConfig, full: Measured, chosen: Measured) -> str:
    calls = "one row" if asked.rows == 1 else f"{asked.rows} rows"
    if chosen is full:
        return (
            f"The full model is the best: no variant is {asked.minimum_speedup:g} times as fast "
            f"for calls of {calls} and keeps to what [optimisation] allows."
        )
    return (
        f"{chosen.variant.name} instead of the full model: {chosen.speedup} times as fast for "
        f"calls of {calls}, {len(chosen.variant.graph) / len(full.variant.graph):.0%} of its size, "
        f"and a mean loss changed by {chosen.lost}, where {asked.maximum_loss:g} is allowed."
    )


def _line(each: Measured, rows: int) -> str:
    microseconds = float(np.median(each.seconds[rows])) * 1e6
    return (
        f"{each.variant.name:20} {len(each.variant.graph) / 1e3:6.1f} kB  {microseconds:6.0f} µs  "
        f"loss {each.lost.value:+.4f}  {each.refused or 'can be chosen'}"
    )
