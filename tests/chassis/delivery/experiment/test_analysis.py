"""What is known of a test follows from its units, in their order, and from its plan."""

from datetime import datetime, timedelta

import numpy as np
import pytest

from ml_chassis.delivery.experiment.analysis import Analysis, Units, analyse
from ml_chassis.delivery.experiment.statistics import Sample, confidence_sequence
from ml_chassis.slo import Experiment

COUNT = 4_000
BEGUN = datetime(2026, 11, 1)
PLAN = Experiment(least_difference=0.2)


def units(better: float = 0, share: float = 0.5, known: float = 1, seed: int = 1) -> Units:
    """Return units, one each minute."""
    random = np.random.default_rng(seed)
    challenger = random.random(COUNT) < share
    outcome = random.normal(better * challenger, 1)
    outcome[random.random(COUNT) >= known] = np.nan
    at = np.datetime64(BEGUN) + np.arange(COUNT) * np.timedelta64(1, "m")
    return Units(challenger, outcome, at)


def analysed(given: Units, plan: Experiment = PLAN, days: float = 3) -> Analysis:
    return analyse(plan, given, BEGUN + timedelta(days=days))


@pytest.mark.parametrize(
    ("better", "decision"), [(0.5, "better"), (-0.5, "worse"), (0, "no difference")]
)
def test_a_difference_is_found_and_none_is_not(better: float, decision: str) -> None:
    found = analysed(units(better, known=0.9))

    assert found.decision == decision
    assert found.last.low < better < found.last.high
    assert found.champion.units + found.challenger.units == COUNT
    assert 0.85 * COUNT < found.champion.known + found.challenger.known < 0.95 * COUNT


def test_the_last_look_is_of_all_units_and_earlier_ones_see_nothing_later() -> None:
    given = units(0.1, known=0.8)
    part = given._replace(
        challenger=given.challenger[: COUNT // 2],
        outcome=given.outcome[: COUNT // 2],
        at=None,
    )
    whole, half = analysed(given), analysed(part)

    arms = [given.outcome[~given.challenger], given.outcome[given.challenger]]
    samples = [
        Sample(*(np.array(each) for each in (known.size * 1.0, known.mean(), known.var(ddof=1))))
        for known in (arm[np.isfinite(arm)] for arm in arms)
    ]
    direct = confidence_sequence(samples[0], samples[1], 0.95, np.array(0.2), 200)
    assert np.array(whole.last) == pytest.approx(np.array(direct))
    at = list(whole.sizes).index(COUNT // 2)
    assert np.array([each[at] for each in whole.found]) == pytest.approx(np.array(half.last))


def test_a_large_number_that_all_outcomes_share_changes_nothing() -> None:
    given = units(0.3)
    far = given._replace(outcome=given.outcome + 1e9)

    moved, here = (np.array(analysed(each).last) for each in (far, given))
    assert moved == pytest.approx(here, rel=1e-4)


@pytest.mark.parametrize(("share", "planned"), [(0.45, 50), (0.5, 40)])
def test_another_split_than_planned_is_invalid(share: float, planned: int) -> None:
    found = analysed(units(0.5, share), PLAN.model_copy(update={"share": planned}))

    assert found.decision == "invalid"
    assert found.mismatch < 0.01


def test_outcomes_that_are_missing_in_one_arm_are_seen() -> None:
    given = units()
    lost = given._replace(
        outcome=np.where(given.challenger & (np.arange(COUNT) % 4 == 0), np.nan, given.outcome)
    )

    assert analysed(given).missing > 0.01
    assert analysed(lost).missing < 0.01
    assert analysed(lost).decision != "invalid"


def test_units_in_both_arms_are_no_chance() -> None:
    assert analysed(units()._replace(mixed=COUNT // 200)).decision == "no difference"
    assert analysed(units()._replace(mixed=COUNT // 20)).decision == "invalid"


def test_a_tester_in_both_arms_ends_no_young_test() -> None:
    given = units()
    young = Units(given.challenger[:50], given.outcome[:50], mixed=2)

    assert analysed(young).decision == "continue"
    assert analysed(young._replace(mixed=50)).decision == "invalid"


def test_after_the_last_day_nothing_is_counted_and_the_test_has_ended() -> None:
    short = PLAN.model_copy(update={"most_days": 1})
    minutes = 24 * 60

    found = analysed(units(0.1), short)

    assert found.decision == "undecided"
    assert found.champion.units + found.challenger.units == minutes
    assert found.late == COUNT - minutes
    assert analysed(units(0.1), short, days=0.9).decision == "continue"
    assert analysed(units(0.1)._replace(at=None), short, days=99).late == 0


def test_two_units_are_too_few_to_say_anything() -> None:
    given = Units(np.array([False, True]), np.array([1.0, np.nan]))

    found = analysed(given, Experiment())

    assert found.decision == "continue"
    assert np.isnan(found.last.difference)
    assert np.isnan(found.needed)
