"""Gates follow from what the first model reached, and say from what."""

from dataclasses import replace

import pytest

from chassis.flights import CONTRACT
from ml_chassis.adopt import AdoptError
from ml_chassis.adopt.gates import Asked, derive, round_up
from ml_chassis.measures import Estimate
from ml_chassis.training.config import Limit
from ml_chassis.training.diagnostics import Diagnostics
from ml_chassis.training.evaluation import Evaluation

QUALITY = CONTRACT.quality
USELESS = 0.0 if CONTRACT.task == "regression" else 0.5

GOOD = Estimate(0.9, 0.8, 0.95)
GAIN, LOSS = Estimate(0.2, 0.1, 0.3), Estimate(-0.2, -0.3, -0.1)
EVALUATION = Evaluation(
    measures={"calibration_error": 0.03, "seed_spread": 0.013, "harmful_features": 0.0},
    quality=GOOD,
    loss=Estimate(0.3, 0.2, 0.4),
    gains={"base_rate": GAIN, "simple_model": GAIN},
    calibration=[],
    slices=[],
    groups=[],
    months=[],
    importance=[],
    values=[],
    diagnostics=Diagnostics(),
)
MEASURES = {**EVALUATION.measures, "refused_share": 0.04, "parity_difference": 1e-7}


def gates(evaluation: Evaluation = EVALUATION, **measures: float) -> dict[str, Asked]:
    """Return the gates by name."""
    found = derive(CONTRACT, evaluation, {**MEASURES, **measures}, scale=1, largest=1)
    return {gate.name: gate for gate in found}


def test_each_is_a_gate_of_training_toml_and_holds_for_the_first_model() -> None:
    found = gates()

    for gate in found.values():
        limit = Limit(minimum=gate.minimum, maximum=gate.maximum, reason=gate.reason)
        value = {QUALITY: 0.9, **MEASURES}.get(gate.name, 0.0)
        assert limit.minimum is None or value >= limit.minimum
        assert limit.maximum is None or value <= limit.maximum
    assert found[QUALITY].minimum == pytest.approx(USELESS + 0.8 * (0.8 - USELESS), abs=0.01)
    assert found["refused_share"].maximum == pytest.approx(0.08)
    assert found["calibration_error"].maximum == pytest.approx(0.06)


@pytest.mark.parametrize(
    "evaluation",
    [
        replace(EVALUATION, quality=Estimate(USELESS - 0.01, 0, 1)),
        replace(EVALUATION, gains={**EVALUATION.gains, "base_rate": LOSS}),
    ],
    ids=["quality", "loss"],
)
def test_a_model_that_learnt_nothing_is_refused(evaluation: Evaluation) -> None:
    with pytest.raises(AdoptError, match="no better than always answering the same"):
        gates(evaluation)


def test_what_the_first_model_does_not_reach_is_not_asked_and_said() -> None:
    weak = replace(EVALUATION, gains={"base_rate": Estimate(0.1, -0.1, 0.2), "simple_model": LOSS})

    found = gates(weak, harmful_features=2.0, decay=0.2)

    for name in ("gain_over_base_rate", "gain_over_simple_model", "harmful_features", "decay"):
        assert (found[name].minimum, found[name].maximum) == (None, None)
        assert found[name].reason
    assert gates(decay=0.02)["decay"].maximum == 0.05
    assert "decay" not in gates()


@pytest.mark.parametrize(
    ("gain", "least"), [(GAIN, 0.1), (Estimate(0.2, 0.199, 0.201), 0.005)], ids=["few", "many"]
)
def test_a_new_model_may_be_worse_than_the_champion_by_chance(gain: Estimate, least: float) -> None:
    if CONTRACT.task == "regression":
        least = max(least, 0.01)
    found = gates(replace(EVALUATION, gains={"base_rate": GAIN, "simple_model": gain}))

    assert found["gain_over_champion"].minimum == pytest.approx(-least)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 0), (0.0131, 0.014), (0.02, 0.02), (0.996, 1), (3.2, 3.2), (1234.5, 1300), (1e-5, 1e-5)],
)
def test_limits_have_two_digits(value: float, expected: float) -> None:
    assert round_up(value) == pytest.approx(expected, rel=1e-9)
