"""The search for parameters is bounded, repeatable, and never sees the later rows."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from chassis.flights import PROJECT
from chassis.rows import small_dataset
from ml_chassis.data.store import Store
from ml_chassis.training import estimator
from ml_chassis.training.config import CONFIG, ConfigError, Range, TrainingConfig, read
from ml_chassis.training.log import Log
from ml_chassis.training.train import Rows
from ml_chassis.training.tune import apply, draw, plan, show, tune, validation_losses

NEWEST = datetime(2026, 1, 31)
TRIALS = 3


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    store = Store(PROJECT, f"sqlite:///{tmp_path}/service.db")
    yield Log(store)
    store.close()


def changed(**changes: Any) -> TrainingConfig:
    """Return this project's configuration with a search of few trials, or another one."""
    config = read(PROJECT)
    assert config.tuning
    few = config.tuning.model_copy(update={"trials": TRIALS, **changes})
    return config.model_copy(update={"tuning": few})


def some_rows() -> Rows:
    rows = small_dataset()
    return Rows(rows, rows[:0], "of these rows", NEWEST, 0.0)


def test_a_search_goes_on_where_it_was_stopped(
    log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = some_rows()
    first = tune(plan(changed(trials=2)), rows, log)
    again = tune(plan(changed()), rows, log)

    assert [run.parameters for run in again[:2]] == [run.parameters for run in first]
    assert len(log.read()) == len(again) == TRIALS
    assert "2 trials were done before" in capsys.readouterr().out
    assert [run.model_dump() for run in log.read(again[0].study)] == [
        run.model_dump() for run in again
    ]


def test_what_is_tried_now_comes_first_and_is_not_tried_again(log: Log) -> None:
    config, rows = changed(), some_rows()
    best = tune(plan(config), rows, log)[1].parameters
    taken = config.model_copy(update={"parameters": best})

    assert len(tune(plan(taken), rows, log)) == TRIALS
    assert len(log.read()) == TRIALS


def test_other_data_are_another_search(log: Log) -> None:
    rows = some_rows()
    tune(plan(changed(trials=1)), rows, log)
    tune(plan(changed(trials=1)), Rows(rows.train, rows.test, "of other rows", NEWEST, 0.0), log)

    assert len({run.study for run in log.read()}) == 2


def test_no_trial_begins_when_the_time_is_over(log: Log) -> None:
    assert tune(plan(changed(seconds=-1)), some_rows(), log) == []


def test_no_model_knows_the_rows_that_it_is_judged_on_nor_later_ones() -> None:
    config, rows = read(PROJECT), small_dataset()
    _, parameters = estimator.load(config)
    label = rows.label.copy()
    label[300:] = ~label[300:]

    found = validation_losses(config, parameters, rows, folds=3)
    others = validation_losses(config, parameters, replace(rows, label=label), folds=3)

    assert len(found) == 300
    assert found.mean() < np.log(2)  # predicted better than at random
    assert (found[:200] == others[:200]).all()
    assert np.exp(-found[200:]) + np.exp(-others[200:]) == pytest.approx(1)


def test_a_part_without_both_labels_is_refused() -> None:
    rows = small_dataset()
    rows.label[:200] = True
    _, parameters = estimator.load(read(PROJECT))

    with pytest.raises(ConfigError, match="one label only"):
        validation_losses(read(PROJECT), parameters, rows, folds=3)


def test_drawn_values_stay_within_their_range_and_reach_its_ends() -> None:
    ranges = {
        "whole": Range(low=1, high=3),
        "fraction": Range(low=0.1, high=0.2),
        "log": Range(low=1, high=1_000, log=True),
        "choice": Range(choices=("a", "b")),
    }
    drawn = draw(ranges, 1, 300)
    values = {name: [each[name] for each in drawn] for name in ranges}

    assert set(values["whole"]) == {1, 2, 3}
    assert all(isinstance(value, float) and 0.1 <= value <= 0.2 for value in values["fraction"])
    assert all(isinstance(value, int) and 1 <= value <= 1_000 for value in values["log"])
    assert 100 < sum(value < 32 for value in values["log"] if isinstance(value, int)) < 200
    assert set(values["choice"]) == {"a", "b"}
    assert drawn[:20] == draw(ranges, 1, 20)
    assert drawn != draw(ranges, 2, 300)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"low": 1},
        {"low": 1, "high": 1},
        {"low": 2, "high": 1},
        {"low": 0, "high": 1, "log": True},
        {"low": 1, "high": 2, "choices": (1,)},
    ],
)
def test_an_impossible_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"low|choices"):
        Range(**wrong)


def test_a_bound_of_a_range_is_a_finite_number() -> None:
    with pytest.raises(ValidationError, match="finite number"):
        Range(low=1, high=float("nan"))


def test_a_range_that_the_estimator_does_not_take_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[tuning.parameters\].*learning_rate.*less than"):
        plan(changed(parameters={"learning_rate": Range(low=0.1, high=5)}))


def test_an_unknown_parameter_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"has no learning_rat, only .*learning_rate"):
        plan(changed(parameters={"learning_rat": Range(low=0.1, high=0.2)}))


def test_without_a_table_nothing_is_searched() -> None:
    with pytest.raises(ConfigError, match=r"\[tuning\]"):
        plan(read(PROJECT).model_copy(update={"tuning": None}))


def test_the_best_is_shown_and_can_be_written(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search, rows = plan(changed()), some_rows()
    runs = tune(search, rows, log)
    worse = [runs[0].model_copy(update={"measures": {"loss": 9.0}}), *runs[1:]]

    best = show(search, rows.train, worse)

    assert best
    assert min(worse, key=lambda run: run.measures["loss"]).parameters.items() >= best.items()
    path = tmp_path / "training.toml"
    text = CONFIG.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    apply(best, path)
    assert read(PROJECT, path).parameters == read(PROJECT).parameters | best
    before, after = (
        [line for line in each.splitlines() if line.partition(" = ")[0] not in best]
        for each in (text, path.read_text(encoding="utf-8"))
    )
    assert before == after  # comments and all
    shown = capsys.readouterr().out
    parameters = path.read_text(encoding="utf-8").partition("[parameters]")[2]
    lines = [line for line in parameters.splitlines() if line.partition(" = ")[0] in best]
    assert all(f"{line}  # was " in shown for line in lines[: len(best)])


def test_where_nothing_is_better_nothing_is_proposed(log: Log) -> None:
    search, rows = plan(changed()), some_rows()
    runs = tune(search, rows, log)
    best = runs[0].model_copy(update={"measures": {"loss": 0.0}})

    assert show(search, rows.train, [best, *runs[1:]]) is None
