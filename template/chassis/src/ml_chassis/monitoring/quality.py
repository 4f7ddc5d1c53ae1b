"""How good served predictions were, counted when their labels come.

Sums are counted, from which rules make means over all replicas: of the loss, by version and slice;
of labels and probabilities, by bin; of the outcomes of decisions.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from ..contract import Contract, Prediction, Task
from ..decision import Decision
from ..measures import measures_of
from . import metrics
from .drift import OTHER, CategoricalBins, NumericBins, Reference

ALL = "(all)"
"""The slice of all rows."""
LABELS: dict[Task, tuple[str, str]] = {
    "binary": ("true", "false"),
    "multiclass": ("right", "wrong"),
    "regression": ("above", "below"),
}

Label = bool | int | float | str
"""Of a prediction: whether the label is true, its value, or the name of its class."""


class Expected(BaseModel):
    """How good a model was on the rows for evaluation, and what is asked of its predictions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: float = Field(description="Mean on those rows.")
    base_rate_loss: float = Field(description="Of always answering the same.")
    slices: tuple[str, ...] = Field(description="Categories by which quality is measured, too.")
    decision: Decision | None = Field(description="What somebody does because of a prediction.")


class Kept(NamedTuple):
    """A prediction without the row that it was made for.

    Attributes:
        id: As in the answer.
        model_version: The version that predicted.
        prediction: A number, or the probability of each class.
        bin: Of the reference of the version.
        acts: Whether it reaches the threshold of the decision; None where there is none.
        slices: Value of each category of `Expected.slices`.
    """

    id: str
    model_version: str
    prediction: Prediction
    bin: str
    acts: bool | None
    slices: Mapping[str, str]


class Joined(NamedTuple):
    """A prediction whose label has become known."""

    kept: Kept
    label: Label


class Watch:
    """What is kept of the predictions of one version."""

    def __init__(
        self, contract: Contract, version: str, reference: Reference, expected: Expected
    ) -> None:
        """Take what training knew of the version."""
        self._contract, self._version, self._expected = contract, version, expected
        self._bins = reference.prediction
        slices = [name for name in expected.slices if name not in contract.personal]
        self._levels = {name: reference.categorical[name] for name in slices}
        self._at = {name: contract.categorical.index(name) for name in slices}

    def publish(self) -> None:
        """Publish what is expected, and all series that labels will make grow."""
        version, expected = self._version, self._expected
        metrics.publish_expected(version, expected.loss, expected.base_rate_loss)
        if expected.decision:
            metrics.publish_decision(version, expected.decision.outcomes)
        for name in self._bins.names:
            metrics.publish_label_bin(version, name, LABELS[self._contract.task])
        metrics.publish_slice(version, ALL)
        for feature, bins in self._levels.items():
            for level in (*bins.levels, OTHER):
                metrics.publish_slice(version, f"{feature} {level}")

    def keep(
        self,
        ids: Sequence[str],
        categorical: npt.NDArray[np.object_],
        predictions: Sequence[Prediction],
    ) -> list[Kept]:
        """Return what is kept of rows.

        Args:
            ids: Of the predictions.
            categorical: Of the rows, shape (rows, categorical columns).
            predictions: Of the rows.
        """
        found = np.array(predictions, np.float32)
        bins = _bins_of(self._contract, self._bins, found)
        decision = self._expected.decision
        return [
            Kept(
                name,
                self._version,
                prediction,
                bins[row],
                None if decision is None else bool(found[row] >= decision.threshold),
                {
                    feature: self._level(feature, categorical[row, at])
                    for feature, at in self._at.items()
                },
            )
            for row, (name, prediction) in enumerate(zip(ids, predictions, strict=True))
        ]

    def _level(self, feature: str, value: str | None) -> str:
        return value if value in self._levels[feature].levels else OTHER


def _bins_of(
    contract: Contract, bins: NumericBins | CategoricalBins, predictions: npt.NDArray[np.float32]
) -> list[str]:
    names = bins.names
    if isinstance(bins, NumericBins):
        at = np.searchsorted(np.array(bins.edges, np.float32), predictions, side="left")
        return [names[position] for position in at.tolist()]
    known = {level: f"= {level}" for level in bins.levels}
    chosen = [contract.classes[position] for position in predictions.argmax(axis=1).tolist()]
    return [known.get(each, OTHER) for each in chosen]


def count(contract: Contract, joined: Iterable[Joined]) -> None:
    """Count how good predictions were whose labels have come."""
    for kept, label in joined:
        loss, seen, confidence = _judged(contract, kept.prediction, label)
        version = kept.model_version
        for name in (ALL, *(f"{feature} {level}" for feature, level in kept.slices.items())):
            metrics.count_loss(version, name, loss)
        metrics.count_label(version, kept.bin, seen, confidence)
        if kept.acts is not None:
            metrics.count_decision(version, _outcome(kept.acts, bool(label)))


def _judged(contract: Contract, prediction: Prediction, label: Label) -> tuple[float, str, float]:
    """Return the loss of a prediction, which of `LABELS` its label is, and how sure it was."""
    by, predicted = measures_of(contract.task), np.array([prediction], np.float64)
    good, bad = LABELS[contract.task]
    if contract.task == "multiclass":
        truth = np.array([contract.classes.index(str(label))])
        right = bool(predicted[0].argmax() == truth[0])
        seen, confidence = good if right else bad, float(predicted.max())
    elif contract.task == "binary":
        truth = np.array([bool(label)])
        seen, confidence = good if label else bad, float(predicted[0])
    else:
        truth = np.array([float(label)])
        seen, confidence = good if truth[0] > predicted[0] else bad, 0.0
    return float(by.losses(truth, predicted)[0]), seen, confidence


def _outcome(acts: bool, label: bool) -> str:
    return f"{'true' if acts == label else 'false'}_{'positive' if acts else 'negative'}"
