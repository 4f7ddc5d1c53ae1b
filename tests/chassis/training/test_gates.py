"""Gates let good models pass and stop the others."""

import pytest

from ml_chassis.training.config import Limit
from ml_chassis.training.gates import judge

LIMITS = {
    "auc": Limit(minimum=0.6, reason="a floor"),
    "parity_difference": Limit(maximum=1e-5, reason="a ceiling"),
    "gain_over_champion": Limit(minimum=0, reason="where there is a champion"),
}


@pytest.mark.parametrize(
    ("measures", "failed"),
    [
        ({"auc": 0.7, "parity_difference": 1e-7, "gain_over_champion": 0.1}, []),
        ({"auc": 0.6, "parity_difference": 1e-5, "gain_over_champion": 0}, []),
        ({"auc": 0.59, "parity_difference": 1e-7}, ["auc"]),
        ({"auc": 0.7, "parity_difference": 1e-4}, ["parity_difference"]),
        ({"auc": float("nan"), "parity_difference": float("nan")}, ["auc", "parity_difference"]),
        ({"auc": 0.7, "parity_difference": 0, "gain_over_champion": -0.1}, ["gain_over_champion"]),
    ],
)
def test_a_model_passes_or_fails(measures: dict[str, float], failed: list[str]) -> None:
    gates = judge(measures, LIMITS)

    assert [gate.name for gate in gates if gate.passed is False] == failed
    assert [gate.name for gate in gates] == list(LIMITS)


def test_a_gate_that_does_not_apply_is_neither_passed_nor_failed() -> None:
    gate = judge({"auc": 0.7, "parity_difference": 0}, LIMITS)[-1]

    assert gate.passed is None
    assert str(gate) == "-    gain_over_champion: does not apply"
