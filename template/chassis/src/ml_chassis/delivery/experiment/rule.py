"""The stop rule, declared before the test starts; it may be asked at any time."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from ...slo import Experiment
from .statistics import Interval, Numbers

Decision = Literal["continue", "better", "worse", "no difference", "undecided", "invalid"]
"""What becomes of the test, by the challenger: all but `continue` end it."""

MISMATCH = 0.01
"""p-value of the sample ratio below which the test is invalid."""
MIXED = 0.01
"""Share of the units in both arms above which it is: a sticky assignment leaves none there."""


def decide(
    plan: Experiment,
    found: Interval,
    margin: Numbers,
    mismatch: Numbers,
    mixed: float = 0,
    is_over: bool = False,
) -> npt.NDArray[np.str_]:
    """Return the decision of each look, which is the first of these that is true.

    Args:
        plan: What was declared.
        found: The difference with its confidence sequence.
        margin: The least difference that matters.
        mismatch: The p-value of the sample ratio.
        mixed: Share of the units that were in both arms.
        is_over: Whether the days of the plan are over.
    """
    higher, lower = found.low > 0, found.high < 0
    better, worse = (higher, lower) if plan.better == "higher" else (lower, higher)
    rules: dict[Decision, npt.NDArray[np.bool_]] = {
        "invalid": (mismatch < MISMATCH) | (mixed > MIXED),
        "better": better,
        "worse": worse,
        "no difference": (found.low > -margin) & (found.high < margin),
        "undecided": np.full(better.shape, is_over),
    }
    return np.select([*rules.values()], [*rules], "continue")
