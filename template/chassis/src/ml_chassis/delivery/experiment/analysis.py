"""What is known of an A/B test, from the units that were exposed so far."""

from datetime import datetime, timedelta
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from ...slo import Experiment
from .rule import Decision, decide
from .statistics import (
    Interval,
    Numbers,
    Sample,
    confidence_sequence,
    least_difference,
    sample_ratio,
    units_needed,
)

LOOKS = 200
"""Points of the plot over units."""
ENOUGH = 1_000
"""Units of which a share in both arms is taken: one tester among few units proves nothing."""


class Units(NamedTuple):
    """Units of randomization in the order of their first exposure; all arrays of shape (units,).

    A unit counts once, by its first known outcome: so units are independent, and what a unit
    counts for does not change later.

    Attributes:
        challenger: Whether each has the challenger.
        outcome: Its first known one; NaN is not known yet.
        at: When it was exposed first, in UTC; None where that is not known.
        repeated: Exposures of units beyond their first.
        mixed: Units that were in both arms, and are none of these.
    """

    challenger: npt.NDArray[np.bool_]
    outcome: Numbers
    at: npt.NDArray[np.datetime64] | None = None
    repeated: int = 0
    mixed: int = 0


class Arm(NamedTuple):
    """An arm at the last look.

    Attributes:
        units: That were exposed.
        known: Outcomes among them.
        mean: Of the outcomes.
        deviation: Standard deviation of them.
    """

    units: int
    known: int
    mean: float
    deviation: float


class Analysis(NamedTuple):
    """What was found.

    Attributes:
        plan: What was declared.
        units: What was analysed.
        late: Units that came after the last day of the plan, and are not counted.
        decision: Of the stop rule.
        champion: The arm.
        challenger: Likewise.
        sizes: Units at each look, shape (looks,).
        found: At each look; the last is of all units.
        margin: The least difference that matters.
        mismatch: p-value of the sample ratio of the units.
        missing: Likewise of those whose outcome is known.
        needed: Known outcomes after which the interval is as narrow as the margin; NaN: unknown.
    """

    plan: Experiment
    units: Units
    late: int
    decision: Decision
    champion: Arm
    challenger: Arm
    sizes: npt.NDArray[np.intp]
    found: Interval
    margin: float
    mismatch: float
    missing: float
    needed: float

    @property
    def last(self) -> Interval:
        """The difference at the last look."""
        return Interval(*(each[-1] for each in self.found))


def analyse(
    plan: Experiment, given: Units, now: datetime, begun: datetime | None = None
) -> Analysis:
    """Return what is known of a test.

    Args:
        plan: What was declared before its start.
        given: The units, one at least.
        now: In UTC, without saying so; a test whose days are over then has ended.
        begun: From when on the days count, likewise; without one, from the first exposure on.
    """
    units, is_over = _within(plan, given, now, begun)
    count = len(units.outcome)
    sizes = np.unique(np.linspace(0, count, LOOKS + 1).astype(np.intp))[1:]
    samples = champion, challenger = _samples(units, sizes)
    margin = least_difference(plan.least_difference, champion)
    found = confidence_sequence(*samples, plan.confidence, margin, plan.least_units)
    counts = np.cumsum(units.challenger)[sizes - 1].astype(float)
    mismatch = sample_ratio(counts, sizes.astype(float), plan.share / 100)
    known = champion.size + challenger.size
    mixed = units.mixed / max(len(given.outcome) + units.mixed, ENOUGH)
    decision = decide(plan, found, margin, mismatch, mixed, is_over)[-1]
    last = [Sample(*(each[-1] for each in sample)) for sample in samples]
    variance = max(float(each.variance) for each in last)
    return Analysis(
        plan=plan,
        units=units,
        late=len(given.outcome) - len(units.outcome),
        decision=cast(Decision, str(decision)),
        champion=_arm(last[0], np.sum(~units.challenger)),
        challenger=_arm(last[1], np.sum(units.challenger)),
        sizes=sizes,
        found=found,
        margin=float(margin[-1]),
        mismatch=float(mismatch[-1]),
        missing=float(sample_ratio(challenger.size[-1], known[-1], plan.share / 100)),
        needed=units_needed(variance, plan.confidence, float(margin[-1]), plan.share / 100),
    )


def _within(
    plan: Experiment, given: Units, now: datetime, begun: datetime | None
) -> tuple[Units, bool]:
    """Return the units within the days of the plan, and whether these are over."""
    if given.at is None:
        return given, False
    first = np.datetime64(begun) if begun else given.at[0]
    end = first + np.timedelta64(timedelta(days=plan.most_days))
    kept = given.at < end
    within = given._replace(
        challenger=given.challenger[kept], outcome=given.outcome[kept], at=given.at[kept]
    )
    return within, bool(np.datetime64(now) >= end)


def _samples(units: Units, sizes: npt.NDArray[np.intp]) -> tuple[Sample, Sample]:
    """Return the outcomes of champion and challenger at looks of so many units."""
    known = np.isfinite(units.outcome)
    centre = float(units.outcome[known].mean()) if known.any() else 0.0
    values = np.where(known, units.outcome - centre, 0)

    def sample(arm: npt.NDArray[np.bool_]) -> Sample:
        sums = (np.cumsum(arm * each)[sizes - 1] for each in (known, values, values**2))
        found = Sample.of(*(each.astype(float) for each in sums))
        return found._replace(mean=found.mean + centre)

    return sample(~units.challenger), sample(units.challenger)


def _arm(sample: Sample, units: np.intp) -> Arm:
    deviation = float(np.sqrt(sample.variance))
    return Arm(int(units), int(sample.size), float(sample.mean), deviation)
