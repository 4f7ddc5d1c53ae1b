"""The threshold is where acting and leaving are worth the same."""

import numpy as np
import pytest
from pydantic import ValidationError

from ml_chassis.decision import Decision

WARN = Decision(
    action="warn",
    unit="USD",
    true_positive=20,
    false_positive=-5,
    false_negative=0,
    true_negative=0,
)


def test_the_threshold_follows_from_what_outcomes_are_worth() -> None:
    assert WARN.threshold == pytest.approx(5 / 25)
    at = WARN.threshold
    acting = at * WARN.true_positive + (1 - at) * WARN.false_positive
    leaving = at * WARN.false_negative + (1 - at) * WARN.true_negative
    assert acting == pytest.approx(leaving)


def test_no_other_threshold_is_worth_more_where_probabilities_are_true() -> None:
    random = np.random.default_rng(0)
    probability = random.random(200_000)
    label = random.random(200_000) < probability
    worth = {at / 20: WARN.value(label, probability >= at / 20) for at in range(21)}

    assert max(worth, key=lambda at: worth[at]) == pytest.approx(WARN.threshold)


def test_outcomes_are_weighed() -> None:
    label, acts = np.array([True, True, False, False]), np.array([True, False, True, False])

    assert WARN.value(label, acts) == (20 + 0 - 5 + 0) / 4


@pytest.mark.parametrize("change", [{"true_positive": 0}, {"false_positive": 1}])
def test_an_action_that_never_pays_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="worth more where the label is true"):
        Decision.model_validate({**WARN.model_dump(), **change})
