"""What is measured of predictions, with intervals; all functions are pure.

Intervals are percentile bootstrap intervals (Efron and Tibshirani, 1993): rows are drawn again,
with replacement, and the middle 95 % of the results are kept.
"""

from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Label = npt.NDArray[np.bool_]
Values = npt.NDArray[np.floating]
Rows = npt.NDArray[np.intp]

RESAMPLES = 400
SEED = 0
SMALLEST = 1e-7
CALIBRATION_BINS = 10


class Estimate(NamedTuple):
    """A number and the 95 % interval around it."""

    value: float
    low: float
    high: float

    @property
    def deviation(self) -> float:
        """The standard error, from the width of the interval."""
        return (self.high - self.low) / (2 * NormalDist().inv_cdf(0.975))

    def __str__(self) -> str:
        """Return it as in "0.698 (0.672 to 0.721)"."""
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


class Bin(NamedTuple):
    """Rows with about the same prediction."""

    predicted: float
    observed: float
    rows: int


def auc(label: Label, predicted: Values) -> float:
    """Return the area under the ROC curve, NaN where there is one class only.

    By ranks, ties sharing theirs (Mann and Whitney, 1947).
    """
    positive = int(label.sum())
    negative = len(label) - positive
    if not positive or not negative:
        return float("nan")
    _, inverse, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[inverse]
    return float((ranks[label].sum() - positive * (positive + 1) / 2) / (positive * negative))


def log_losses(label: Label, predicted: Values) -> Values:
    """Return the log loss of each row, in nats."""
    likelihood = np.where(label, predicted, 1 - predicted)
    return -np.log(np.clip(likelihood.astype(np.float64), SMALLEST, 1))


def interval(measure: Callable[[Rows], float], rows: int) -> Estimate:
    """Return a measure of all rows, with its interval.

    Args:
        measure: Takes indices of rows.
        rows: How many there are.
    """
    random = np.random.default_rng(SEED)
    drawn = [measure(random.integers(0, rows, rows)) for _ in range(RESAMPLES)]
    known = np.array([each for each in drawn if np.isfinite(each)])
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (np.nan, np.nan)
    return Estimate(measure(np.arange(rows)), float(low), float(high))


def auc_interval(label: Label, predicted: Values) -> Estimate:
    """Return the area under the ROC curve."""
    return interval(lambda rows: auc(label[rows], predicted[rows]), len(label))


def mean_interval(values: Values) -> Estimate:
    """Return a mean, such as that of the differences between two models on the same rows."""
    return interval(lambda rows: float(values[rows].mean()), len(values))


def calibration(label: Label, predicted: Values) -> list[Bin]:
    """Return what was predicted and what happened, in bins of about as many rows each."""
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, min(CALIBRATION_BINS, len(order)))
    return [
        Bin(float(predicted[part].mean()), float(label[part].mean()), len(part)) for part in parts
    ]


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error (Naeini, Cooper and Hauskrecht, 2015)."""
    rows = sum(each.rows for each in bins)
    return sum(abs(each.predicted - each.observed) * each.rows for each in bins) / rows
