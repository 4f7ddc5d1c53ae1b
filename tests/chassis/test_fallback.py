"""What is answered while the model cannot."""

import numpy as np

from chassis.flights import CONTRACT
from chassis.rows import needs
from ml_chassis.fallback import PRIOR_ROWS, Fallback

CATEGORICAL = CONTRACT.categorical
NUMERIC = CONTRACT.numeric

GROUP = CATEGORICAL[-1] if CATEGORICAL else ""


def row(group: str | None) -> tuple[object, ...]:
    return (*[None] * len(NUMERIC), *[""] * (len(CATEGORICAL) - 1), group)


@needs(GROUP)
def test_it_answers_the_share_of_the_group_drawn_to_that_of_all_rows() -> None:
    groups = ["a"] * 980 + ["b"] * 20
    categorical = np.array([row(group)[len(NUMERIC) :] for group in groups], object)
    label = np.array([group == "b" for group in groups])

    fallback = Fallback.fit(CONTRACT, categorical, label, GROUP)
    a, b, unknown = fallback.predict(CONTRACT, [row("a"), row("b"), row(None)])

    assert unknown == 0.02
    assert a == (0 + PRIOR_ROWS * 0.02) / (980 + PRIOR_ROWS)
    assert b == (20 + PRIOR_ROWS * 0.02) / (20 + PRIOR_ROWS)


def test_without_a_group_it_answers_the_share_of_all_rows() -> None:
    categorical = np.full((4, len(CATEGORICAL)), "a", object)
    label = np.array([True, False, False, False])

    fallback = Fallback.fit(CONTRACT, categorical, label, "")
    assert fallback.predict(CONTRACT, [row("a"), row("b")]) == [0.25, 0.25]
