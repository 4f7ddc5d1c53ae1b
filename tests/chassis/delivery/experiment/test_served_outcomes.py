"""Outcomes of units come from the labels of what they were answered."""

from pathlib import Path

import numpy as np
import pytest

from chassis.flights import CONTRACT
from chassis.test_decision import WARN
from ml_chassis.decision import Decision
from ml_chassis.delivery.experiment.served import Served, read_served
from ml_chassis.errors import UserError
from ml_chassis.feedback.sample import Arm, Exposure
from ml_chassis.feedback.store import Declared, Store
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

    def declare(self, better: str = "higher") -> None:
        plan = Experiment.model_validate({"better": better}).model_dump(mode="json")
        self.store.declare(Declared(NAME, plan, "v1", "v2"))

    def expose(self, name: str, unit: str, arm: Arm, prediction: float, version: str = "") -> None:
        version = version or {"champion": "v1", "challenger": "v2"}[arm]
        acts = prediction >= WARN.threshold
        kept = Kept(name, version, "stable", prediction, 0.2, "any", acts, {})
        self.store.keep([kept], exposures={name: Exposure(NAME, unit, arm)})

    def read(self, decision: Decision | None = WARN, name: str = "") -> Served:
        return read_served(CONTRACT, self.url, name, decision)


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
    test.declare("lower")
    test.expose("a", "1", "champion", 0.9)
    test.expose("b", "2", "challenger", 0.9)
    test.store.add({"a": True, "b": False})

    assert test.read(None).units.outcome.tolist() == pytest.approx(-np.log([0.9, 0.1]))


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

    found = test.read().units
    assert found.outcome[0] == WARN.true_positive
    assert found.repeated == 1


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
    with pytest.raises(UserError, match=r"there is no \[decision\] in training.toml"):
        test.read(None)
