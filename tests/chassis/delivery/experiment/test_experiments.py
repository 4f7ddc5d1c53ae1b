"""The stop rule is seldom wrong, however often somebody looks, and finds what matters."""

import numpy as np
import pytest

from chassis.delivery.experiment import experiments
from chassis.delivery.experiment.experiments import (
    DRAWN,
    PLAN,
    SEED,
    Rates,
    outcome_of,
    rates,
    simulate,
    splits,
)
from ml_chassis.delivery.experiment.rule import MISMATCH
from nightly import NIGHTLY

FALSE = 1 - PLAN.confidence
TESTS = 300


def found(words: str, effect: float, share: int = PLAN.share) -> Rates:
    """Return what becomes of some tests."""
    plan = PLAN.model_copy(update={"share": share})
    random, outcome = np.random.default_rng(SEED), outcome_of(words)
    looks = simulate(plan, outcome, effect, random, TESTS)
    return rates(looks, 0.1 * effect * outcome.deviation)


@pytest.mark.parametrize("share", [50, 10])
@pytest.mark.parametrize("words", DRAWN)
def test_in_an_a_a_test_a_t_test_at_each_look_is_wrong_and_the_stop_rule_is_not(
    words: str, share: int
) -> None:
    seen = found(words, 0, share)

    assert seen.better + seen.worse <= FALSE
    assert seen.missed <= FALSE
    assert seen.t_test > 4 * FALSE


@pytest.mark.parametrize("words", DRAWN)
def test_a_difference_that_matters_is_found(words: str) -> None:
    seen = found(words, 1)

    assert seen.better > 0.9
    assert seen.worse == 0
    assert seen.missed <= FALSE
    assert found(words, 2).units < seen.units


def test_a_wrong_split_is_found_and_a_right_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "SPLIT_UNITS", 50_000)
    random = np.random.default_rng(SEED)

    assert splits(PLAN.share, random, TESTS)[0] <= MISMATCH
    invalid, units = splits(52, random, TESTS)
    assert invalid > 0.95
    assert units < 20_000


@pytest.mark.skipif(not NIGHTLY, reason="it takes minutes: see `make nightly`")
def test_the_rates_of_the_page_are_those_of_the_simulation() -> None:
    page = experiments.PAGE.read_text(encoding="utf-8")
    assert page == experiments.page(), "run tests/chassis/delivery/experiment/experiments.py"


def test_the_rates_of_the_page_are_as_promised() -> None:
    text = experiments.PAGE.read_text(encoding="utf-8")
    lines = text.partition(experiments.BEGIN)[2].partition("<!--")[0].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines[2:]]

    def percent(name: str, row: list[str]) -> float:
        return float(row[experiments.HEAD.index(name)].rstrip("%"))

    assert {row[0].rpartition(",")[0] for row in rows} == {*DRAWN}
    for row in rows:
        assert percent("interval ever wrong", row) <= 100 * FALSE
    for row in (each for each in rows if each[1] == "0"):
        assert percent("better", row) + percent("worse", row) <= 100 * FALSE
        assert percent("t-test at each look", row) > 20
