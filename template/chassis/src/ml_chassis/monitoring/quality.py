"""How good served predictions were, counted when their labels come.

Sums are counted, from which rules make means over all replicas: of the loss, by version and slice;
of labels and probabilities, by bin; of the outcomes of decisions.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from ..contract import Contract, Labels, Prediction, Task
from ..decision import Decision
from ..measures import measures_of
from . import metrics
from .drift import OTHER, CategoricalBins, Reference, most_probable

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
    constant: Prediction = Field(description="The mean of what training should have answered.")
    slices: tuple[str, ...] = Field(description="Categories by which quality is measured, too.")
    decision: Decision | None = Field(description="What somebody does because of a prediction.")


class Kept(NamedTuple):
    """A prediction without the row that it was made for.

    Attributes:
        id: As in the answer.
        model_version: The version that predicted.
        track: Of the replica that predicted.
        prediction: A number, or the probability of each class.
        constant: What always answering the same would have been.
        bin: Of the reference of the version.
        acts: Whether it reaches the threshold of the decision; None where there is none.
        slices: Value of each category of `Expected.slices`.
    """

    id: str
    model_version: str
    track: str
    prediction: Prediction
    constant: Prediction
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

    def publish(self, track: str) -> None:
        """Publish what is expected, and all series of a track that labels will make grow."""
        place, expected = (track, self._version), self._expected
        outcomes = expected.decision.outcomes if expected.decision else {}
        metrics.publish_expected(self._version, expected.loss, outcomes)
        metrics.publish_outcomes(*place, outcomes)
        for name in self._bins.names:
            metrics.publish_label_bin(*place, name, LABELS[self._contract.task])
        metrics.publish_slice(*place, ALL)
        for feature, bins in self._levels.items():
            for level in (*bins.levels, OTHER):
                metrics.publish_slice(*place, f"{feature} {level}")

    def keep(
        self,
        track: str,
        ids: Sequence[str],
        categorical: npt.NDArray[np.object_],
        predictions: Sequence[Prediction],
    ) -> list[Kept]:
        """Return what is kept of rows.

        Args:
            track: Of the replica that predicted.
            ids: Of the predictions.
            categorical: Of the rows, shape (rows, categorical columns).
            predictions: Of the rows.
        """
        found = np.array(predictions, np.float32)
        bins = (
            self._bins.place(most_probable(self._contract.classes, found).tolist())
            if isinstance(self._bins, CategoricalBins)
            else self._bins.place(found)
        )
        decision = self._expected.decision
        return [
            Kept(
                name,
                self._version,
                track,
                prediction,
                self._expected.constant,
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


def publish(contract: Contract, joined: Iterable[Joined]) -> None:
    """Publish the series that `count` will make grow, of versions that are not served here."""
    for kept, _ in joined:
        place = kept.track, kept.model_version
        for name in _slices(kept):
            metrics.publish_slice(*place, name)
        metrics.publish_label_bin(*place, kept.bin, LABELS[contract.task])
        if kept.acts is not None:
            metrics.publish_outcomes(
                *place, [_outcome(kept.acts, label) for label in (True, False)]
            )


def count(contract: Contract, joined: Iterable[Joined]) -> None:
    """Count how good predictions were whose labels have come."""
    for kept, label in joined:
        place = kept.track, kept.model_version
        losses = [_loss(contract, each, label) for each in (kept.prediction, kept.constant)]
        for name in _slices(kept):
            metrics.count_loss(*place, name, *losses)
        metrics.count_label(*place, kept.bin, *_seen(contract, kept.prediction, label))
        if kept.acts is not None:
            metrics.count_decision(*place, _outcome(kept.acts, bool(label)))


def truth(contract: Contract, labels: Sequence[Label]) -> Labels:
    """Return labels as measures take them, shape (rows,): of classes their positions."""
    if contract.classes:
        return np.array([contract.classes.index(str(label)) for label in labels])
    return np.array(labels)


def _slices(kept: Kept) -> tuple[str, ...]:
    return (ALL, *(f"{feature} {level}" for feature, level in kept.slices.items()))


def _loss(contract: Contract, prediction: Prediction, label: Label) -> float:
    predicted = np.array([prediction], np.float64)
    return float(measures_of(contract.task).losses(truth(contract, [label]), predicted)[0])


def _seen(contract: Contract, prediction: Prediction, label: Label) -> tuple[str, float]:
    """Return which of `LABELS` a label is, and how probable the first of them was to be."""
    first, second = LABELS[contract.task]
    predicted = np.array(prediction, np.float64)
    if contract.task == "binary":
        return first if label else second, float(predicted)
    if contract.task == "multiclass":
        right = contract.classes[predicted.argmax()] == label
        return first if right else second, float(predicted.max())
    return first if float(label) > predicted else second, 0.5


def _outcome(acts: bool, label: bool) -> str:
    return f"{'true' if acts == label else 'false'}_{'positive' if acts else 'negative'}"
