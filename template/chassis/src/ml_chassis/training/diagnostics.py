"""Where a model is right and where it is wrong: what the report draws beside the measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, precision_recall_curve

from ..contract import Contract, Labels, Predictions

Points = Sequence[tuple[float, float]]
POINTS = 100
RESIDUAL_BINS = 20
RESIDUAL_QUANTILES = {"95th percentile": 0.95, "median": 0.5, "5th percentile": 0.05}


@dataclass(frozen=True)
class Diagnostics:
    """What there is of it for a kind of label.

    Attributes:
        classes: Names of the classes of the confusion matrix, in its order.
        confusion: Rows by label and predicted class, shape (classes, classes); none for a number.
        precision_recall: Recall and precision, for a label that is true or false.
        residuals: Predicted value and a quantile of observed - predicted around it, by the name of
            the quantile; for a number.
    """

    classes: tuple[str, ...] = ()
    confusion: npt.NDArray[np.int64] | None = None
    precision_recall: Points = ()
    residuals: dict[str, Points] | None = None


def diagnose(
    contract: Contract, label: Labels, predicted: Predictions, threshold: float
) -> Diagnostics:
    """Return the diagnostics of predictions.

    Args:
        contract: Its kind of label decides.
        label: Of the rows for evaluation, shape (rows,).
        predicted: Shape (rows, *contract.width).
        threshold: From which probability on true is predicted, of a label that is true or false.
    """
    if contract.task == "regression":
        return Diagnostics(residuals=_residuals(label, predicted))
    if contract.task == "multiclass":
        names = tuple(map(str, contract.classes))
        return Diagnostics(names, _confusion(label, predicted.argmax(axis=1), len(names)))
    return Diagnostics(
        ("false", "true"),
        _confusion(label.astype(int), (predicted >= threshold).astype(int), 2),
        _precision_recall(label, predicted),
    )


def _confusion(label: Labels, chosen: npt.NDArray[Any], classes: int) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = confusion_matrix(label, chosen, labels=range(classes))
    return found


def _precision_recall(label: Labels, predicted: Predictions) -> Points:
    precision, recall, _ = precision_recall_curve(label, predicted)
    some = np.unique(np.linspace(0, len(recall) - 1, POINTS).astype(int))
    return [(float(recall[at]), float(precision[at])) for at in some[::-1]]


def _residuals(label: Labels, predicted: Predictions) -> dict[str, Points]:
    """Return quantiles of the residuals, in bins of about as many rows each."""
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, min(RESIDUAL_BINS, len(order)))
    missed = label - predicted.astype(np.float64)
    return {
        name: [(float(predicted[p].mean()), float(np.quantile(missed[p], share))) for p in parts]
        for name, share in RESIDUAL_QUANTILES.items()
    }
