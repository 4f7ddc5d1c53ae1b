"""What is measured of predictions, with intervals; all functions are pure.

Intervals are percentile bootstrap intervals (Efron and Tibshirani, 1993): rows are drawn again,
with replacement, and the middle 95 % of the results are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .contract import Labels, Task

Truth = npt.NDArray[np.bool_]
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


def auc(label: Truth, predicted: Values) -> float:
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


def auc_over_classes(label: Labels, predicted: Values) -> float:
    """Return the mean over the classes of the area under the curve of each against the rest.

    Classes that no row has are left out.
    """
    areas = [auc(label == index, column) for index, column in enumerate(predicted.T)]
    known = [area for area in areas if np.isfinite(area)]
    return float(np.mean(known)) if known else float("nan")


def r2(label: Labels, predicted: Values) -> float:
    """Return the coefficient of determination: 1 is perfect, 0 is as good as the mean."""
    errors, spread = ((label - other) ** 2 for other in (predicted, label.mean()))
    return float(1 - errors.sum() / spread.sum()) if spread.any() else float("nan")


def log_losses(label: Truth, predicted: Values) -> Values:
    """Return the log loss of each row, in nats."""
    return _surprise(np.where(label, predicted, 1 - predicted))


def log_losses_over_classes(label: Labels, predicted: Values) -> Values:
    """Return the log loss of each row, in nats."""
    return _surprise(predicted[np.arange(len(label)), label])


def _surprise(likelihood: Values) -> Values:
    return -np.log(np.clip(likelihood.astype(np.float64), SMALLEST, 1))


def squared_errors(label: Labels, predicted: Values) -> Values:
    """Return the squared error of each row."""
    return (label - predicted.astype(np.float64)) ** 2


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


def mean_interval(values: Values) -> Estimate:
    """Return a mean, such as that of the differences between two models on the same rows."""
    return interval(lambda rows: float(values[rows].mean()), len(values))


def calibration(observed: Values, predicted: Values) -> list[Bin]:
    """Return what was predicted and what happened, in bins of about as many rows each."""
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, min(CALIBRATION_BINS, len(order)))
    return [
        Bin(float(predicted[part].mean()), float(observed[part].mean()), len(part))
        for part in parts
    ]


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error (Naeini, Cooper and Hauskrecht, 2015).

    It is in the units of the label.
    """
    rows = sum(each.rows for each in bins)
    return sum(abs(each.predicted - each.observed) * each.rows for each in bins) / rows


@dataclass(frozen=True)
class Measures:
    """How models for one kind of label are measured.

    Attributes:
        task: The kind.
        losses: The loss of each row: what training makes small, and models are compared by.
        quality: How well rows are told apart, in a number without a unit.
        quality_words: What that is called.
        loss_words: What the loss is called.
        certainty_words: What the means of both that `certainty` returns are called.
    """

    task: Task
    losses: Callable[[Labels, Values], Values]
    quality: Callable[[Labels, Values], float]
    quality_words: str
    loss_words: str
    certainty_words: tuple[str, str]

    def quality_interval(self, label: Labels, predicted: Values) -> Estimate:
        """Return `quality` with its interval."""
        return interval(lambda rows: self.quality(label[rows], predicted[rows]), len(label))

    def certainty(self, label: Labels, predicted: Values) -> tuple[Values, Values]:
        """Return what turned out to be and what was predicted, shape (rows,) each.

        Of many classes: whether the most probable one was right, and its probability.
        """
        if self.task != "multiclass":
            return label, predicted
        return predicted.argmax(axis=1) == label, predicted.max(axis=1)

    def mean(self, value: float) -> str:
        """Return a mean as text: of classes it is a share."""
        return f"{value:.4g}" if self.task == "regression" else f"{value:.1%}"


_BINARY = ("fraction of positives", "mean predicted probability")
_MEASURES: dict[Task, Measures] = {
    each.task: each
    for each in (
        Measures("binary", log_losses, auc, "ROC AUC", "log loss", _BINARY),
        Measures(
            "multiclass",
            log_losses_over_classes,
            auc_over_classes,
            "ROC AUC (one-vs-rest, macro average)",
            "log loss",
            ("accuracy", "mean confidence"),
        ),
        Measures(
            "regression",
            squared_errors,
            r2,
            "R²",
            "squared error",
            ("mean observed value", "mean predicted value"),
        ),
    )
}


def measures_of(task: Task) -> Measures:
    """Return how models for a kind of label are measured."""
    return _MEASURES[task]
