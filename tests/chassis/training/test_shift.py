"""A shift that is there is found, and chance is not taken for one."""

import numpy as np
import pytest

from chassis.flights import CONTRACT
from ml_chassis.contract import Categorical, Numeric
from ml_chassis.monitoring.drift import PREDICTION, Reference
from ml_chassis.slo import Drift
from ml_chassis.training.shift import Shift, chance, shifts

CATEGORICAL = CONTRACT.categorical
NUMERIC = CONTRACT.numeric


def draw(rows: int, seed: int) -> tuple[Numeric, Categorical]:
    """Return random rows, with missing values and rare levels."""
    random = np.random.default_rng(seed)
    numeric = random.normal(size=(rows, len(NUMERIC))).astype(np.float32)
    numeric[random.random(numeric.shape) < 0.1] = np.nan
    levels = random.geometric(0.2, size=(rows, len(CATEGORICAL)))
    return numeric, levels.astype(str).astype(object)


def compare(trained: tuple[Numeric, Categorical], new: tuple[Numeric, Categorical]) -> list[Shift]:
    before, after = (np.nan_to_num(each[0][:, 0]) for each in (trained, new))
    reference = Reference.fit(CONTRACT, *trained, before)
    return shifts(CONTRACT, reference, len(before), *new, after, Drift().psi)


@pytest.mark.parametrize("rows", [60, 2_000])
def test_rows_of_the_same_kind_have_not_drifted(rows: int) -> None:
    for seed in range(1, 6):
        assert [each for each in compare(draw(5_000, 0), draw(rows, seed)) if each.drifted] == []


def test_the_features_that_were_shifted_are_found_and_come_first() -> None:
    numeric, categorical = draw(1_000, 1)
    numeric[:, 2] += 1
    categorical[:, 0] = "new"

    found = compare(draw(5_000, 0), (numeric, categorical))

    assert [each.feature for each in found if each.drifted] == [CATEGORICAL[0], NUMERIC[2]]
    assert {each.feature for each in found} == {*NUMERIC, *CATEGORICAL, PREDICTION}
    assert found[0].grown.startswith("other: ")


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 10.828), (2, 13.816), (10, 29.588), (21, 46.797)]
)
def test_chance_is_that_of_chi_squared(freedom: int, quantile: float) -> None:
    expected = quantile * (1 / 5_000 + 1 / 800)

    assert chance(freedom, 5_000, 800) == pytest.approx(expected, rel=1e-4)
