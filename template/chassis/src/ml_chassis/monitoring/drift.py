"""Where features and predictions lie, compared with training: counts per bin, for Prometheus.

Training notes the bins and the share of its rows in each; the service counts the rows that it
answers in the same bins. Drift is the difference between the two, and is computed where the counts
of all replicas meet. Counting each row when it comes would cost more than the prediction, so rows
are gathered and counted together in the background.
"""

import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from ..contract import Categorical, Contract, Numeric
from . import metrics

BINS = 10
LEVELS = 20
ADDED_ROWS = 0.5
"""Added to each bin where shares are compared: a share of nothing has no logarithm."""
MISSING, OTHER = "missing", "other"
PREDICTION = "(prediction)"  # no feature can have this name
MAX_GATHERED_ROWS = 250  # more would stop the event loop for too long
MAX_ROWS_PER_SECOND = 10_000  # in one process

Values = npt.NDArray[np.float32]
Counts = dict[str, npt.NDArray[np.int64]]


KEPT = 0.9
"""Of the entropy of new bins, what those of the champion must have to be kept: both models count in
the same bins then, and can be compared."""


class NumericBins(BaseModel):
    """Intervals that held equally many rows of training, and one bin for missing values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    edges: list[float]
    share: list[float]

    @classmethod
    def fit(cls, values: Values, bins: int = BINS) -> Self:
        """Take the quantiles of training as edges."""
        present = values[~np.isnan(values)]
        quantiles = np.linspace(0, 1, bins + 1)[1:-1]
        edges = np.unique(np.quantile(present, quantiles)) if present.size else np.empty(0)
        counts = cls(edges=edges.tolist(), share=[]).count(values)
        return cls(edges=edges.tolist(), share=(counts / max(len(values), 1)).tolist())

    @property
    def names(self) -> list[str]:
        """One name per bin."""
        if not self.edges:
            return ["any", MISSING]
        names = self._named(6)  # digits that people can read, if they tell all edges apart
        return names if len(set(names)) == len(names) else self._named(17)

    def _named(self, digits: int) -> list[str]:
        edges = [f"{edge:.{digits}g}" for edge in self.edges]
        inner = [f"{low} to {high}" for low, high in pairwise(edges)]
        return [f"up to {edges[0]}", *inner, f"above {edges[-1]}", MISSING]

    def count(self, values: Values) -> npt.NDArray[np.int64]:
        """Return the number of values per bin."""
        return np.bincount(self._positions(values), minlength=len(self.edges) + 2)

    def place(self, values: Values) -> list[str]:
        """Return the name of the bin of each value."""
        names = self.names
        return [names[position] for position in self._positions(values).tolist()]

    def _positions(self, values: Values) -> npt.NDArray[np.intp]:
        position = np.searchsorted(np.array(self.edges, np.float32), values, side="left")
        position[np.isnan(values)] = len(self.edges) + 1
        return position


class CategoricalBins(BaseModel):
    """The most frequent values of training, one bin for all others and one for missing values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    levels: list[str]
    share: list[float]

    @classmethod
    def fit(cls, values: Sequence[str], levels: int = LEVELS) -> Self:
        """Take the most frequent values of training as bins."""
        frequent = Counter(value for value in values if value).most_common(levels)
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

    def place(self, values: Sequence[str]) -> list[str]:
        """Return the name of the bin of each value."""
        names = {**dict(zip(self.levels, self.names, strict=False)), "": MISSING}
        return [names.get(value, OTHER) for value in values]


class Reference(BaseModel):
    """The bins of every feature and of the prediction, as training saw them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    numeric: dict[str, NumericBins]
    categorical: dict[str, CategoricalBins]
    prediction: NumericBins | CategoricalBins
    champion: NumericBins | CategoricalBins | None = None
    """The bins of the champion's predictions: in them the two are compared during a release."""

    @classmethod
    def fit(
        cls,
        contract: Contract,
        numeric: Numeric,
        categorical: Categorical,
        prediction: Values,
        champion: Self | None = None,
    ) -> Self:
        """Describe rows and what was predicted for them.

        Bins tell of values, so of a personal feature only the share of missing ones is noted.

        Args:
            contract: The schema.
            numeric: Of the rows, shape (rows, numeric columns).
            categorical: Of the rows, shape (rows, categorical columns).
            prediction: Of the rows, shape (rows, *width).
            champion: Whose bins are kept where they still tell rows about as well apart.
        """
        personal, classes = contract.personal, contract.classes
        own = cls(
            numeric={
                name: NumericBins.fit(numeric[:, at], 1 if name in personal else BINS)
                for at, name in enumerate(contract.numeric)
            },
            categorical={
                name: CategoricalBins.fit(
                    categorical[:, at].tolist(), 0 if name in personal else LEVELS
                )
                for at, name in enumerate(contract.categorical)
            },
            prediction=(
                CategoricalBins.fit(most_probable(classes, prediction).tolist())
                if classes
                else NumericBins.fit(prediction)
            ),
        )
        if champion is None:
            return own
        counts = champion.count(contract, numeric, categorical, prediction)
        before = champion.bins
        kept = {
            name: bins if name in personal else _better(bins, before[name], counts[name])
            for name, bins in own.bins.items()
        }
        return cls.model_validate(
            {
                "numeric": {name: kept[name] for name in own.numeric},
                "categorical": {name: kept[name] for name in own.categorical},
                "prediction": kept[PREDICTION],
                "champion": champion.prediction,
            }
        )

    @property
    def bins(self) -> dict[str, NumericBins | CategoricalBins]:
        """All of them, by the name of the feature, or `PREDICTION`."""
        return {**self.numeric, **self.categorical, PREDICTION: self.prediction}

    @property
    def of_predictions(self) -> dict[str, NumericBins | CategoricalBins]:
        """The bins in which predictions are compared with those of other versions, by fingerprint.

        There is one where the bins of the champion were kept.
        """
        found = [self.prediction, *([self.champion] if self.champion else [])]
        return {_fingerprint(bins): bins for bins in found}

    def count(
        self, contract: Contract, numeric: Numeric, categorical: Categorical, prediction: Values
    ) -> Counts:
        """Return the number of rows per bin, by the same names."""
        numbers = {
            name: self.numeric[name].count(numeric[:, at])
            for at, name in enumerate(contract.numeric)
        }
        texts = {
            name: self.categorical[name].count(categorical[:, at].tolist())
            for at, name in enumerate(contract.categorical)
        }
        predicted = _count(self.prediction, contract.classes, prediction)
        return {**numbers, **texts, PREDICTION: predicted}


def _count(
    bins: NumericBins | CategoricalBins, classes: Sequence[str], prediction: Values
) -> npt.NDArray[np.int64]:
    """Return the number of predictions per bin; of many classes the most probable one counts."""
    if isinstance(bins, CategoricalBins):
        return bins.count(most_probable(classes, prediction).tolist())
    return bins.count(prediction)


def _fingerprint(bins: NumericBins | CategoricalBins) -> str:
    """Return what is equal of equal bins, whatever the shares in them."""
    text = json.dumps(bins.model_dump(exclude={"share"}), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _better(
    own: NumericBins | CategoricalBins,
    champion: NumericBins | CategoricalBins,
    counts: npt.NDArray[np.int64],
) -> NumericBins | CategoricalBins:
    """Return the bins of the champion, with the shares of these counts, unless they are worse."""
    share = counts / max(counts.sum(), 1)
    if _entropy(share) < KEPT * _entropy(np.array(own.share)):
        return own
    return champion.model_copy(update={"share": share.tolist()})


def _entropy(share: npt.NDArray[np.float64]) -> float:
    present = share[share > 0]
    return float(-(present * np.log(present)).sum())


class NumericTable:
    """The bins of several numbers side by side, to count a table of them at once."""

    def __init__(self, columns: Sequence[NumericBins]) -> None:
        """Take the bins of each column."""
        self._most = max((len(column.edges) for column in columns), default=0)
        # Where a column has fewer edges than another, no value is above the rest.
        self._edges = np.full((self._most, len(columns), 1), np.inf, np.float32)
        for at, column in enumerate(columns):
            self._edges[: len(column.edges), at, 0] = column.edges
        self._sizes = [len(column.edges) + 1 for column in columns]
        self._first = np.arange(len(columns))[:, np.newaxis] * (self._most + 2)

    def count(self, table: Values) -> list[npt.NDArray[np.int64]]:
        """Return the number of values per bin, of each column.

        Args:
            table: Shape (columns, rows).
        """
        position = np.zeros(table.shape, np.uint8)
        flag = np.empty(table.shape, np.bool_)
        for edge in self._edges:
            np.greater(table, edge, out=flag)
            np.add(position, flag.view(np.uint8), out=position)
        position[np.isnan(table, out=flag)] = self._most + 1
        bins = self._most + 2
        counts = np.bincount((position + self._first).ravel(), minlength=len(self._sizes) * bins)
        by_column = zip(counts.reshape(-1, bins), self._sizes, strict=True)
        return [np.append(column[:size], column[-1]) for column, size in by_column]


class DriftCounts:
    """The rows that one version of the model answered in this process.

    Of more than `MAX_ROWS_PER_SECOND` a random share is counted: their distribution is the same,
    and a busy service has better things to do.
    """

    def __init__(self, contract: Contract, version: str, reference: Reference, rows: int) -> None:
        """Take the bins of that version, and how many rows it was trained on."""
        self._version, self._rows = version, rows
        self._bins = reference.bins
        self._classes = contract.classes
        self._numeric, self._categorical = len(contract.numeric), len(contract.categorical)
        # Of a prediction for many classes, the most probable one is counted.
        self._number_names, self._text_names = contract.numeric, contract.categorical
        if contract.classes:
            self._text_names += (PREDICTION,)
        else:
            self._number_names += (PREDICTION,)
        numbers = (self._bins[name] for name in self._number_names)
        self._numbers = NumericTable([each for each in numbers if isinstance(each, NumericBins)])
        texts = ((name, self._bins[name]) for name in self._text_names)
        self._texts_bins = {name: each for name, each in texts if isinstance(each, CategoricalBins)}
        self._of_predictions = reference.of_predictions
        self._first: list[Values] = []
        self._counts, self._predicted = self._no_counts()
        # What is gathered, a feature in a row; the prediction is the last of its kind.
        self._values = np.empty((len(self._number_names), MAX_GATHERED_ROWS), np.float32)
        self._texts = np.empty((len(self._text_names), MAX_GATHERED_ROWS), np.object_)
        self._gathered = 0
        self._offered = self._offered_before = 0
        self._lock = threading.Lock()  # a slow model answers in a thread

    def publish(self) -> None:
        """Publish the reference, and every bin at zero: a series must begin before it grows."""
        metrics.publish_training_rows(self._version, self._rows)
        for feature, bins in self._bins.items():
            for name, share in zip(bins.names, bins.share, strict=True):
                metrics.publish_bin(self._version, feature, name, share)
        for fingerprint, bins in self._of_predictions.items():
            for name in bins.names:
                metrics.publish_prediction_bin(self._version, fingerprint, name)

    def add(
        self,
        numeric: Numeric,
        categorical: Categorical,
        prediction: Values,
        first: Sequence[int] = (0,),
    ) -> None:
        """Gather the rows of a batch, and count them when there are enough to be quick at it.

        Args:
            numeric: Of the rows, shape (rows, numeric columns).
            categorical: Of the rows, shape (rows, categorical columns).
            prediction: Of the rows, shape (rows, *width).
            first: Positions of the first row of each request. Rows of a request are often alike,
                so that only one of each is compared with those of another track.
        """
        with self._lock:
            self._offered += len(prediction)
            offered = max(self._offered, self._offered_before)
            if random.random() * offered > MAX_ROWS_PER_SECOND:  # noqa: S311 - no secret
                return
            # Mostly each request has one row, and there is nothing to pick.
            alone = len(first) == len(prediction)
            self._first.append(prediction if alone else prediction[list(first)])
            start = 0
            while start < len(prediction):
                part = slice(start, start + MAX_GATHERED_ROWS - self._gathered)
                self._gather(numeric[part], categorical[part], prediction[part])
                start = part.stop

    def flush(self) -> None:
        """Publish the counts of all rows so far; is called every second."""
        with self._lock:
            self._count()
            self._offered_before, self._offered = self._offered, 0
            counted, predicted = self._counts, self._predicted
            self._counts, self._predicted = self._no_counts()
        for feature, bins in self._bins.items():
            for name, count in zip(bins.names, counted[feature].tolist(), strict=True):
                if count:
                    metrics.count_bin(self._version, feature, name, count)
        for fingerprint, bins in self._of_predictions.items():
            for name, count in zip(bins.names, predicted[fingerprint].tolist(), strict=True):
                if count:
                    metrics.count_prediction_bin(self._version, fingerprint, name, count)

    def _no_counts(self) -> tuple[Counts, Counts]:
        return _zeros(self._bins), _zeros(self._of_predictions)

    def _gather(self, numeric: Numeric, categorical: Categorical, prediction: Values) -> None:
        place = slice(self._gathered, self._gathered + len(prediction))
        self._values[: self._numeric, place] = numeric.T
        self._texts[: self._categorical, place] = categorical.T
        if self._classes:
            self._texts[-1, place] = most_probable(self._classes, prediction)
        else:
            self._values[-1, place] = prediction
        self._gathered = place.stop
        if self._gathered == MAX_GATHERED_ROWS:
            self._count()

    def _count(self) -> None:
        rows, self._gathered = self._gathered, 0
        counted = self._numbers.count(self._values[:, :rows])
        for name, counts in zip(self._number_names, counted, strict=True):
            self._counts[name] += counts
        gathered = self._texts[:, :rows].tolist()
        for name, texts in zip(self._text_names, gathered, strict=True):
            self._counts[name] += self._texts_bins[name].count(texts)
        if self._first:
            predicted = np.concatenate(self._first)
            self._first.clear()
            for fingerprint, bins in self._of_predictions.items():
                self._predicted[fingerprint] += _count(bins, self._classes, predicted)


def _zeros(bins: Mapping[str, NumericBins | CategoricalBins]) -> Counts:
    return {name: np.zeros(len(each.names), np.int64) for name, each in bins.items()}


def most_probable(classes: Sequence[str], prediction: Values) -> npt.NDArray[np.object_]:
    """Return the name of the most probable class of each row; shape (rows, classes) comes in."""
    chosen: npt.NDArray[np.object_] = np.array(classes, np.object_)[prediction.argmax(axis=1)]
    return chosen
