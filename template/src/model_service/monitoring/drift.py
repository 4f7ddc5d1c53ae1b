"""Where features and predictions lie, compared with training: counts per bin, for Prometheus.

Training notes the bins and the share of its rows in each; the service counts the rows that it
answers in the same bins. Drift is the difference between the two, and is computed where the counts
of all replicas meet. Counting each row when it comes would cost more than the prediction, so rows
are gathered and counted together in the background.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from ..contract import CATEGORICAL, NUMERIC, Categorical, Numeric
from . import metrics

BINS = 10
LEVELS = 20
MISSING, OTHER = "missing", "other"
PREDICTION = "(prediction)"  # no feature can have this name
MAX_GATHERED_ROWS = 500  # more would stop the event loop for too long

Values = npt.NDArray[np.float32]


class NumericBins(BaseModel):
    """Intervals that held equally many rows of training, and one bin for missing values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    edges: list[float]
    share: list[float]

    @classmethod
    def fit(cls, values: Values) -> Self:
        """Take the quantiles of training as edges."""
        present = values[~np.isnan(values)]
        quantiles = np.linspace(0, 1, BINS + 1)[1:-1]
        edges = np.unique(np.quantile(present, quantiles)) if present.size else np.empty(0)
        bins = cls(edges=edges.tolist(), share=[])
        return cls(edges=bins.edges, share=(bins.count(values) / max(len(values), 1)).tolist())

    @property
    def names(self) -> list[str]:
        """One name per bin."""
        if not self.edges:
            return ["any", MISSING]
        inner = [f"{low:.6g} to {high:.6g}" for low, high in pairwise(self.edges)]
        return [f"up to {self.edges[0]:.6g}", *inner, f"above {self.edges[-1]:.6g}", MISSING]

    def count(self, values: Values) -> npt.NDArray[np.int64]:
        """Return the number of values per bin."""
        missing = np.isnan(values)
        position = np.searchsorted(np.array(self.edges, np.float32), values, side="left")
        position[missing] = len(self.edges) + 1
        return np.bincount(position, minlength=len(self.edges) + 2)


class CategoricalBins(BaseModel):
    """The most frequent values of training, one bin for all others and one for missing values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    levels: list[str]
    share: list[float]

    @classmethod
    def fit(cls, values: Sequence[str]) -> Self:
        """Take the most frequent values of training as bins."""
        frequent = Counter(value for value in values if value).most_common(LEVELS)
        bins = cls(levels=sorted(value for value, _ in frequent), share=[])
        share = bins.count(values) / max(len(values), 1)
        return cls(levels=bins.levels, share=share.tolist())

    @property
    def names(self) -> list[str]:
        """One name per bin."""
        return [*(f"= {level}" for level in self.levels), OTHER, MISSING]

    def count(self, values: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the number of values per bin."""
        counted = Counter(values)
        missing = counted.pop("", 0)
        known = [counted.pop(level, 0) for level in self.levels]
        return np.array([*known, counted.total(), missing], np.int64)


class Reference(BaseModel):
    """The bins of every feature and of the prediction, as training saw them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    numeric: dict[str, NumericBins]
    categorical: dict[str, CategoricalBins]
    prediction: NumericBins

    @classmethod
    def fit(cls, numeric: Numeric, categorical: Categorical, prediction: Values) -> Self:
        """Describe rows and what was predicted for them."""
        return cls(
            numeric={name: NumericBins.fit(numeric[:, at]) for at, name in enumerate(NUMERIC)},
            categorical={
                name: CategoricalBins.fit(categorical[:, at].tolist())
                for at, name in enumerate(CATEGORICAL)
            },
            prediction=NumericBins.fit(prediction),
        )

    @property
    def bins(self) -> dict[str, NumericBins | CategoricalBins]:
        """All of them, by the name of the feature, or `PREDICTION`."""
        return {**self.numeric, **self.categorical, PREDICTION: self.prediction}


class DriftCounts:
    """The rows that one version of the model answered in this process."""

    def __init__(self, version: str, reference: Reference) -> None:
        """Take the bins of that version."""
        self._version = version
        self._reference = reference
        self._bins = reference.bins
        self._gathered: list[tuple[Numeric, Categorical, Values]] = []
        self._rows = 0
        self._counts: dict[str, npt.NDArray[np.int64]] = {
            name: np.zeros(len(bins.names), np.int64) for name, bins in self._bins.items()
        }

    def publish(self) -> None:
        """Publish the reference, and every bin at zero: a series must begin before it grows."""
        for feature, bins in self._bins.items():
            for name, share in zip(bins.names, bins.share, strict=True):
                metrics.publish_bin(self._version, feature, name, share)

    def add(self, numeric: Numeric, categorical: Categorical, prediction: Values) -> None:
        """Gather the rows of a batch, and count them when there are enough to be quick at it."""
        self._gathered.append((numeric, categorical, prediction))
        self._rows += len(prediction)
        if self._rows >= MAX_GATHERED_ROWS:
            self._count()

    def flush(self) -> None:
        """Publish the counts of all rows so far."""
        self._count()
        for feature, bins in self._bins.items():
            counts = self._counts[feature].tolist()
            self._counts[feature][:] = 0
            for name, count in zip(bins.names, counts, strict=True):
                if count:
                    metrics.count_bin(self._version, feature, name, count)

    def _count(self) -> None:
        gathered, self._gathered, self._rows = self._gathered, [], 0
        if not gathered:
            return
        parts = zip(*gathered, strict=True)
        numeric, categorical, prediction = (np.concatenate(part) for part in parts)
        by_feature = np.ascontiguousarray(numeric.T)
        for name, values in zip(NUMERIC, by_feature, strict=True):
            self._counts[name] += self._reference.numeric[name].count(values)
        for name, texts in zip(CATEGORICAL, categorical.T.tolist(), strict=True):
            self._counts[name] += self._reference.categorical[name].count(texts)
        self._counts[PREDICTION] += self._reference.prediction.count(prediction)
