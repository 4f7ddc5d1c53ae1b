"""Two models are compared row by row."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from chassis.flights import CONTRACT
from ml_chassis.contract import Predictions
from ml_chassis.measures import log_losses
from ml_chassis.training.comparison import compare
from ml_chassis.training.estimator import Dataset

ROWS = 800


@pytest.fixture(scope="module")
def rows() -> Dataset:
    label = np.random.default_rng(0).random(ROWS) < 0.3
    return Dataset(CONTRACT, np.empty((ROWS, 0), np.float32), np.empty((ROWS, 0), object), label)


def guess(rows: Dataset, seed: int, quality: float) -> Predictions:
    """Return predictions that know something of the label."""
    noise = np.random.default_rng(seed).normal(0, 0.1, ROWS)
    return np.clip(0.3 + quality * (rows.label - 0.3) + noise, 0.01, 0.99).astype(np.float32)


@pytest.mark.parametrize("quality", [0.1, 0.12, 0.3])
def test_the_paired_test_is_that_of_scipy(rows: Dataset, quality: float) -> None:
    champion, challenger = guess(rows, 1, 0.1), guess(rows, 2, quality)
    losses = (log_losses(rows.label, each) for each in (champion, challenger))

    found = compare(rows, champion, challenger)

    assert found.p_value == pytest.approx(ttest_rel(*losses).pvalue, abs=1e-5)
    assert (found.gain.low > 0) == (quality == 0.3)


def test_the_same_answers_differ_by_nothing(rows: Dataset) -> None:
    same = guess(rows, 1, 0.1)

    found = compare(rows, same, same)

    assert found.gain == (0, 0, 0)
    assert found.p_value == 1
    assert found.champion == found.challenger
