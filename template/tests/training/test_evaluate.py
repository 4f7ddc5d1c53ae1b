"""Gates let good models pass and stop the others."""

import numpy as np
import pytest

from model_service.training.config import Gates
from model_service.training.estimator import Dataset
from model_service.training.evaluate import evaluate, judge

GATES = Gates(
    maximum_refused_share=0.05,
    minimum_auc=0.6,
    minimum_log_loss_gain=0.01,
    maximum_parity_difference=1e-5,
)
GOOD = {"auc": 0.7, "log_loss": 0.4, "baseline_log_loss": 0.5}


def dataset(label: list[int]) -> Dataset:
    rows = len(label)
    return Dataset(
        np.zeros((rows, 1), np.float32), np.full((rows, 1), "a", object), np.array(label, bool)
    )


def test_a_perfect_model_and_a_coin() -> None:
    train, test = dataset([0, 0, 0, 1]), dataset([0, 1, 0, 1])

    perfect = evaluate(train, test, np.array([0.1, 0.9, 0.2, 0.8], np.float32))
    coin = evaluate(train, test, np.full(4, 0.25, np.float32))

    assert perfect["auc"] == 1
    assert perfect["log_loss"] < perfect["baseline_log_loss"]
    assert coin["auc"] == 0.5
    assert coin["log_loss"] == pytest.approx(coin["baseline_log_loss"])


def test_a_good_model_passes_every_gate() -> None:
    assert all(gate.passed for gate in judge(0.02, GOOD, 1e-7, GATES))


@pytest.mark.parametrize(
    ("refused_share", "changed", "parity_difference", "failed"),
    [
        (0.06, {}, 0.0, "share of refused rows"),
        (0.0, {"auc": 0.59}, 0.0, "AUC"),
        (0.0, {"auc": float("nan")}, 0.0, "AUC"),
        (0.0, {"log_loss": 0.495}, 0.0, "log loss gain over the base rate"),
        (0.0, {}, 1e-4, "ONNX parity difference"),
        (0.0, {}, float("nan"), "ONNX parity difference"),
    ],
)
def test_a_bad_model_fails_one(
    refused_share: float, changed: dict[str, float], parity_difference: float, failed: str
) -> None:
    gates = judge(refused_share, {**GOOD, **changed}, parity_difference, GATES)

    assert [gate.name for gate in gates if not gate.passed] == [failed]
