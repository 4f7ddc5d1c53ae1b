"""Outcomes of units come from the labels of what they were answered."""

import time
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from chassis.flights import CONTRACT
from chassis.test_decision import WARN
from ml_chassis.decision import Decision
from ml_chassis.delivery.experiment.served import Served, read_served
from ml_chassis.errors import UserError
from ml_chassis.feedback.sample import Arm, Exposure
from ml_chassis.feedback.store import Declared, Store, utc_now
from ml_chassis.monitoring.quality import Kept
from ml_chassis.slo import Experiment

NAME = "spring"


class Test:
    """A test whose exposures are made by hand."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        """Begin without any."""
        self.url = f"sqlite:///{folder}/x.db"
        self.store = Store(CONTRACT, self.url)
        self.at = time.time() - 60

    def declare(self, better: str = "higher", decision: Decision | None = WARN) -> None:
        plan = Experiment.model_validate({"better": better}).model_dump(mode="json")
        worth = decision.model_dump(mode="json") if decision else None
        self.store.declare(Declared(NAME, utc_now(), plan, worth, "v1", "v2"))

    def expose(self, name: str, unit: str, arm: Arm, prediction: float, version: str = "") -> None:
        version = version or {"champion": "v1", "challenger": "v2"}[arm]
        acts = prediction >= WARN.threshold
        kept = Kept(name, version, "stable", prediction, 0.2, "any", acts, {})
        self.store.keep([kept], exposures={name: self.exposure(unit, arm)})

    def exposure(self, unit: str, arm: Arm) -> Exposure:
        """Return one of a while ago; those before it are older."""
        self.at += 0.001
        return Exposure(NAME, unit, arm, self.at)

    def read(self, name: str = "") -> Served:
        return read_served(CONTRACT, self.url, name)


@pytest.fixture
def test(tmp_path: Path) -> Test:
    return Test(tmp_path)


def test_the_value_of_decisions_is_the_outcome_where_higher_is_better(test: Test) -> None:
    test.declare()
    test.expose("a", "1", "champion", 0.9)
    test.expose("b", "2", "challenger", 0.9)
    test.expose("c", "3", "challenger", 0.01)
    test.store.add({"a": True, "b": False, "c": True})

    units = test.read().units
    worth = [WARN.true_positive, WARN.false_positive, WARN.false_negative]
    assert units.outcome.tolist() == worth
    assert units.challenger.tolist() == [False, True, True]


def test_the_loss_is_where_lower_is_better(test: Test) -> None:
    test.declare("lower", None)
    test.expose("a", "1", "champion", 0.9)
    test.expose("b", "2", "challenger", 0.9)
    test.store.add({"a": True, "b": False})

    assert test.read().units.outcome.tolist() == pytest.approx(-np.log([0.9, 0.1]))


def test_what_has_no_label_counts_for_the_sample_ratio_alone(test: Test) -> None:
    test.declare()
    test.expose("a", "1", "champion", 0.9)
    test.expose("b", "2", "challenger", 0.9)

    assert np.isnan(test.read().units.outcome).tolist() == [True, True]
    test.store.add({"a": True})
    assert np.isnan(test.read().units.outcome).tolist() == [False, True]


def test_a_unit_counts_by_the_outcome_that_was_known_first(test: Test) -> None:
    test.declare()
    test.expose("a", "1", "champion", 0.9)
    test.expose("b", "1", "champion", 0.9)
    test.expose("c", "2", "challenger", 0.9)
    test.store.add({"b": True})
    test.store.add({"a": False})
    assert test.read().units.outcome[0] == WARN.true_positive
    test.store.add({"b": False})  # which was corrected, and is the first one all the same

    found = test.read().units
    assert found.outcome[0] == WARN.false_positive
    assert found.repeated == 1


def test_a_unit_in_both_arms_counts_in_none(test: Test) -> None:
    test.declare()
    test.expose("a", "1", "champion", 0.9)
    test.expose("b", "1", "challenger", 0.9)
    with pytest.raises(UserError, match="no unit of the champion was answered yet"):
        test.read()
    test.expose("c", "2", "champion", 0.9)
    test.expose("d", "3", "challenger", 0.9)

    found = test.read().units
    assert found.challenger.tolist() == [False, True]
    assert found.mixed == 1


def test_a_prediction_of_which_no_decision_was_known_has_no_value(test: Test) -> None:
    test.declare()
    test.expose("a", "1", "champion", 0.9)
    test.expose("b", "2", "challenger", 0.9)
    with sa.create_engine(test.url).begin() as connection:
        connection.exec_driver_sql("UPDATE feedback_predictions SET acts = NULL WHERE id = 'a'")
    test.store.add({"a": True, "b": True})

    assert np.isnan(test.read().units.outcome).tolist() == [True, False]


def test_an_exposure_whose_prediction_is_not_kept_counts_for_the_sample_ratio(test: Test) -> None:
    test.declare()
    test.expose("a", "1", "champion", 0.9)
    test.store.keep([], exposures={"b": test.exposure("2", "challenger")})

    assert test.read().units.challenger.tolist() == [False, True]


def test_what_may_not_be_written_by_all_replicas_yet_does_not_count(test: Test) -> None:
    test.declare()
    test.expose("a", "1", "champion", 0.9)
    test.expose("b", "2", "challenger", 0.9)
    now = Exposure(NAME, "3", "challenger", time.time())
    test.store.keep([], exposures={"c": now})

    assert test.read().units.challenger.tolist() == [False, True]


def test_answers_that_the_champion_gave_for_the_challenger_are_told(test: Test) -> None:
    test.declare()
    test.expose("a", "1", "champion", 0.9)
    for unit, version in enumerate(["v2", "v2", "v2", "v1"], start=2):
        test.expose(str(unit), str(unit), "challenger", 0.9, version)

    assert test.read().failed == 0.25


def test_a_report_waits_for_no_writer(test: Test) -> None:
    test.declare()
    test.expose("a", "1", "champion", 0.9)
    test.expose("b", "2", "challenger", 0.9)
    with sa.create_engine(test.url).connect() as writer:
        writer.exec_driver_sql("BEGIN IMMEDIATE")
        assert len(test.read().units.outcome) == 2


def test_versions_that_were_not_there_in_the_beginning_are_named(test: Test) -> None:
    test.declare()
    test.expose("a", "1", "champion", 0.9)
    test.expose("b", "2", "challenger", 0.9)
    test.expose("c", "3", "challenger", 0.9, version="v1")  # the champion answered in its place
    assert test.read().others == []
    test.expose("d", "4", "champion", 0.9, version="v3")
    assert test.read().others == ["v3"]


def test_the_plan_is_that_of_the_first_declaration(test: Test) -> None:
    test.declare("lower")
    test.declare("higher")
    test.expose("a", "1", "champion", 0.9)
    test.expose("b", "2", "challenger", 0.9)
    assert test.read(name=NAME).plan.better == "lower"


def test_what_cannot_be_read_is_told(test: Test) -> None:
    with pytest.raises(UserError, match="There is no A/B test: begin one with MODEL_SERVICE_EXP"):
        test.read()
    test.declare()
    with pytest.raises(UserError, match="no unit of the champion was answered yet"):
        test.read()
    test.expose("a", "1", "champion", 0.9)
    test.expose("b", "2", "challenger", 0.9)


def test_without_a_decision_there_is_no_value(test: Test) -> None:
    test.declare(decision=None)
    test.expose("a", "1", "champion", 0.9)
    test.expose("b", "2", "challenger", 0.9)
    with pytest.raises(UserError, match=r"knows no \[decision\] of training.toml"):
        test.read()
