"""Quality on the later months, and the gates that decide whether a model may be registered."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from .config import Gates
from .estimator import Dataset, Probability


@dataclass(frozen=True)
class Gate:
    """One condition and whether the model meets it."""

    name: str
    value: float
    condition: str
    passed: bool


def evaluate(train: Dataset, test: Dataset, predicted: Probability) -> dict[str, float]:
    """Return the quality of predictions for the test rows.

    `auc` is the area under the ROC curve; `log_loss` and `brier` are mean losses, lower is
    better; `baseline_log_loss` is that of always answering the share of positives in training.
    """
    rate = float(train.label.mean())
    return {
        "auc": float(roc_auc_score(test.label, predicted)),
        "log_loss": float(log_loss(test.label, predicted)),
        "brier": float(brier_score_loss(test.label, predicted)),
        "baseline_log_loss": float(log_loss(test.label, np.full(len(test), rate))),
        "train_positive_rate": rate,
        "test_positive_rate": float(test.label.mean()),
    }


def judge(
    refused_share: float, metrics: dict[str, float], parity_difference: float, gates: Gates
) -> list[Gate]:
    """Return every gate of training.toml; a value that is not a number passes none."""
    gain = metrics["baseline_log_loss"] - metrics["log_loss"]
    return [
        _at_most("share of refused rows", refused_share, gates.maximum_refused_share),
        _at_least("AUC", metrics["auc"], gates.minimum_auc),
        _at_least("log loss gain over the base rate", gain, gates.minimum_log_loss_gain),
        _at_most("ONNX parity difference", parity_difference, gates.maximum_parity_difference),
    ]


def _at_least(name: str, value: float, limit: float) -> Gate:
    return Gate(name, value, f"at least {limit:g}", value >= limit)


def _at_most(name: str, value: float, limit: float) -> Gate:
    return Gate(name, value, f"at most {limit:g}", value <= limit)
