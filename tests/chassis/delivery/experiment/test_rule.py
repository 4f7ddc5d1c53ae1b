"""The stop rule: what counts first, and what a difference means where lower is better."""

import numpy as np
import pytest

from ml_chassis.delivery.experiment.rule import MISMATCH, MIXED, decide
from ml_chassis.delivery.experiment.statistics import Interval
from ml_chassis.slo import Experiment

MARGIN = 1.0
LOOKS = {
    "far above": (0.5, 3.0),
    "above, by less than matters": (0.1, 0.9),
    "around zero, wide": (-2.0, 0.5),
    "around zero, narrow": (-0.9, 0.9),
    "just as wide": (-1.0, 1.0),
    "far below": (-3.0, -0.5),
    "unknown": (np.nan, np.nan),
}
HIGHER = ["better", "better", "continue", "no difference", "continue", "worse", "continue"]
LOWER = ["worse", "worse", "continue", "no difference", "continue", "better", "continue"]
ENDED = ["better", "better", "undecided", "no difference", "undecided", "worse", "undecided"]


def decisions(
    better: str = "higher", mismatch: float = 1, mixed: float = 0, is_over: bool = False
) -> list[str]:
    """Return the decision of each look."""
    low, high = np.array([*LOOKS.values()]).T
    plan = Experiment.model_validate({"better": better})
    found = Interval((low + high) / 2, low, high, np.ones_like(low))
    margin, mismatches = (np.full_like(low, each) for each in (MARGIN, mismatch))
    return [str(each) for each in decide(plan, found, margin, mismatches, mixed, is_over)]


@pytest.mark.parametrize(("better", "expected"), [("higher", HIGHER), ("lower", LOWER)])
def test_each_interval_has_its_decision(better: str, expected: list[str]) -> None:
    assert decisions(better) == expected


def test_at_the_end_what_is_not_decided_stays_so() -> None:
    assert decisions(is_over=True) == ENDED


def test_a_wrong_split_is_stronger_than_all() -> None:
    invalid = ["invalid"] * len(LOOKS)

    assert decisions(mismatch=MISMATCH / 2, is_over=True) == invalid
    assert decisions(mixed=2 * MIXED, is_over=True) == invalid
    assert decisions(mismatch=MISMATCH, mixed=MIXED) == HIGHER
