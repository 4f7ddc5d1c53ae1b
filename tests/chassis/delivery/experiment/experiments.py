"""A/B tests, simulated: how often the stop rule is wrong, and how many units it takes.

python tests/chassis/delivery/experiment/experiments.py    writes the tables of experiments.md
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ml_chassis.delivery.experiment.rule import MISMATCH, decide
from ml_chassis.delivery.experiment.statistics import (
    Interval,
    Numbers,
    Sample,
    confidence_sequence,
    least_difference,
    sample_ratio,
)
from ml_chassis.reference import fill
from ml_chassis.reports.markdown import table
from ml_chassis.slo import Experiment

ROOT = Path(__file__).resolve().parents[4]
PAGE = ROOT / "template/chassis/docs/experiments.md"
BEGIN, BEGIN_SPLITS = "<!-- From the simulation. -->\n", "<!-- Splits, from the simulation. -->\n"
TESTS, UNITS, LOOK = 5_000, 20_000, 100
"""Tests of each kind, the units of each, and how many come between two looks."""
SEED = 18
NORMAL = 1.959964
"""Standard errors of a t-test of so many units, of 5 % for one look."""
EFFECTS = (0.5, 1, 2)
"""In least differences."""
SPLITS = (50.5, 51, 52, 55)
"""Percent of the units that get the challenger, where 50 are planned."""
SPLIT_UNITS, SPLIT_LOOK = 200_000, 500
PLAN = Experiment()
SHARES = (50, 10)

Random = np.random.Generator
Flags = npt.NDArray[np.bool_]


class Outcome(NamedTuple):
    """A kind of outcome.

    Attributes:
        draw: Returns the outcome of each unit, whose mean is raised by so much.
        deviation: Standard deviation of it where nothing is raised.
    """

    draw: Callable[[Random, Numbers], Numbers]
    deviation: float


WORTH, GAINS, LOSSES, TAIL = 100.0, 0.03, 0.02, 1.0
"""Median of what is gained or lost, by which shares of the units; sigma of its logarithm."""


def binary(random: Random, raised: Numbers, rate: float) -> Numbers:
    """Return whether each unit did it."""
    return (random.random(raised.shape) < rate + raised).astype(float)


def value(random: Random, raised: Numbers) -> Numbers:
    """Return nothing for 95 % of the units, large gains and losses for the others."""
    kind = random.random(raised.shape)
    mean = WORTH * np.exp(TAIL**2 / 2)
    gains = kind < GAINS + raised / mean  # more gain, not each more
    happened = gains | (kind > 1 - LOSSES)
    found = np.zeros(raised.shape)
    found[happened] = random.lognormal(np.log(WORTH), TAIL, int(happened.sum()))
    return np.where(gains, found, -found)


def log_loss(random: Random, raised: Numbers) -> Numbers:
    """Return the log loss of calibrated probabilities, most of which are small."""
    predicted = np.clip(random.beta(0.5, 2, raised.shape), 1e-7, 1 - 1e-7)
    label = random.random(raised.shape) < predicted
    found: Numbers = raised - np.log(np.where(label, predicted, 1 - predicted))
    return found


DRAWN: dict[str, Callable[[Random, Numbers], Numbers]] = {
    "20 % do it": partial(binary, rate=0.2),
    "1 % do it": partial(binary, rate=0.01),
    "value, 95 % zeros": value,
    "log loss": log_loss,
}


@cache
def outcome_of(words: str) -> Outcome:
    """Return a kind of outcome by its name."""
    many = DRAWN[words](np.random.default_rng(SEED), np.zeros(1_000_000))
    return Outcome(DRAWN[words], float(many.std()))


class Looks(NamedTuple):
    """Simulated tests, seen at all looks; arrays of shape (tests, looks).

    Attributes:
        decision: By the stop rule.
        found: The difference with its confidence sequence.
        z: The difference in standard errors, as a t-test has it.
    """

    decision: npt.NDArray[np.str_]
    found: Interval
    z: Numbers


def simulate(
    plan: Experiment, outcome: Outcome, effect: float, random: Random, tests: int = TESTS
) -> Looks:
    """Return tests whose challenger is better by so many least differences, of a tenth of sigma."""
    raised = effect * 0.1 * outcome.deviation
    counted = [_counted(plan, outcome, raised, random, tests) for _ in range(UNITS // LOOK)]
    sums = np.cumsum(counted, axis=0, dtype=np.float64)  # looks, arms, sums, tests
    champion, challenger = (
        Sample.of(sums[:, arm, 0], sums[:, arm, 1], sums[:, arm, 2]) for arm in (0, 1)
    )
    margin = least_difference(plan.least_difference, champion)
    found = confidence_sequence(champion, challenger, plan.confidence, margin, plan.least_units)
    decision = decide(plan, found, margin, np.ones_like(margin))
    with np.errstate(divide="ignore", invalid="ignore"):
        error = champion.variance / champion.size + challenger.variance / challenger.size
        z: Numbers = found.difference / np.sqrt(error)
    return Looks(decision.T, Interval(*(each.T for each in found)), z.T)


def _counted(
    plan: Experiment, outcome: Outcome, raised: float, random: Random, tests: int
) -> list[list[Numbers]]:
    """Return count, sum and sum of squares of both arms, of the units between two looks."""
    challenger = random.random((tests, LOOK)) < plan.share / 100
    values = outcome.draw(random, np.where(challenger, raised, 0.0))
    return [
        [arm.sum(1), (values * arm).sum(1), (values**2 * arm).sum(1)]
        for arm in (~challenger, challenger)
    ]


def first(flags: Flags) -> Numbers:
    """Return the number of the first look of each test that is true, from 1; infinite: none is."""
    return np.where(flags.any(axis=1), flags.argmax(axis=1) + 1.0, np.inf)


class Rates(NamedTuple):
    """What became of tests.

    Attributes:
        better, worse, same: Share of those so decided, at the first look that decides.
        units: Until half of all were decided; infinite where fewer were.
        missed: Share of those whose interval ever left out the true difference.
        t_test: Share of those in which a t-test at each look ever finds a difference.
    """

    better: float
    worse: float
    same: float
    units: float
    missed: float
    t_test: float


def rates(looks: Looks, difference: float) -> Rates:
    """Return what became of simulated tests with this true difference."""
    at = first(looks.decision != "continue")
    last = np.minimum(at, looks.decision.shape[1]).astype(int) - 1
    decided = looks.decision[np.arange(len(at)), last]
    missed = (looks.found.low > difference) | (looks.found.high < difference)
    return Rates(
        better=float((decided == "better").mean()),
        worse=float((decided == "worse").mean()),
        same=float((decided == "no difference").mean()),
        units=LOOK * float(np.median(at)),
        missed=float(missed.any(axis=1).mean()),
        t_test=float((np.abs(looks.z) > NORMAL).any(axis=1).mean()),
    )


def splits(share: float, random: Random, tests: int = TESTS) -> tuple[float, float]:
    """Return how many tests of such a split were ever called invalid, and units until half were."""
    looks = SPLIT_UNITS // SPLIT_LOOK
    challenger = random.binomial(SPLIT_LOOK, share / 100, (tests, looks)).cumsum(axis=1)
    units = np.arange(1, looks + 1) * SPLIT_LOOK
    p_value = sample_ratio(challenger.astype(float), units.astype(float), PLAN.share / 100)
    at = first(p_value < MISMATCH)
    return float(np.isfinite(at).mean()), SPLIT_LOOK * float(np.median(at))


def rows(tests: int = TESTS) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the first table, of each kind of outcome, effect and share."""
    for share in SHARES:
        plan = PLAN.model_copy(update={"share": share})
        for outcome, words in ((outcome_of(words), words) for words in DRAWN):
            for effect in (0, *EFFECTS) if share == PLAN.share else (0, 1):
                looks = simulate(plan, outcome, effect, np.random.default_rng(SEED), tests)
                found = rates(looks, 0.1 * effect * outcome.deviation)
                yield (
                    *(f"{words}, {share} %", f"{effect:g}"),
                    *(f"{each:.1%}" for each in (found.better, found.worse, found.same)),
                    _units(found.units),
                    *(f"{each:.1%}" for each in (found.missed, found.t_test)),
                )


def _units(units: float) -> str:
    return f"{units:,.0f}" if np.isfinite(units) else "more"


def split_rows(tests: int = TESTS) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the second table."""
    for share in (PLAN.share, *SPLITS):
        found, units = splits(share, np.random.default_rng(SEED), tests)
        yield f"{100 - share:g} : {share:g}", f"{found:.1%}", _units(units)


HEAD = (
    *("outcome, share of the challenger", "true difference", "better", "worse", "no difference"),
    *("units until half are decided", "interval ever wrong", "t-test at each look"),
)
SPLIT_HEAD = ("champion : challenger", "ever called invalid", "units until half are")


def page() -> str:
    """Return experiments.md with the rates of today."""
    text = PAGE.read_text(encoding="utf-8")
    for begin, head, found in (
        (BEGIN, HEAD, rows()),
        (BEGIN_SPLITS, SPLIT_HEAD, split_rows()),
    ):
        text = fill(text, begin, "".join(f"{line}\n" for line in table(head, found)))
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
