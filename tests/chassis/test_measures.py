"""Measures are those of the books, and their intervals hold what they should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, r2_score, roc_auc_score

from chassis.flights import CONTRACT
from ml_chassis.measures import (
    Bin,
    auc,
    auc_over_classes,
    calibration,
    calibration_error,
    log_losses,
    log_losses_over_classes,
    mean_interval,
    measures_of,
    r2,
    squared_errors,
)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_the_auc_is_that_of_scikit_learn_with_ties_too(rows: list[tuple[bool, int]]) -> None:
    label = np.array([true for true, _ in rows])
    predicted = np.array([score / 5 for _, score in rows], np.float32)

    if label.all() or not label.any():
        assert np.isnan(auc(label, predicted))
    else:
        assert auc(label, predicted) == pytest.approx(roc_auc_score(label, predicted))


def test_the_mean_of_log_losses_is_that_of_scikit_learn() -> None:
    label = np.array([True, False, True])
    predicted = np.array([0.9, 0.2, 0.4])

    assert log_losses(label, predicted).mean() == pytest.approx(log_loss(label, predicted))


def test_measures_of_many_classes_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    label = random.integers(0, 3, 200)
    predicted = random.dirichlet(np.ones(3), 200) * 0.7 + 0.3 * np.eye(3)[label]

    expected = roc_auc_score(label, predicted, multi_class="ovr")
    assert auc_over_classes(label, predicted) == pytest.approx(expected)
    mean = log_losses_over_classes(label, predicted).mean()
    assert mean == pytest.approx(log_loss(label, predicted))


def test_a_class_that_no_row_has_is_left_out() -> None:
    label = np.array([0, 1, 0, 1])
    predicted = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]] * 2)

    assert auc_over_classes(label, predicted) == 1


def test_measures_of_numbers_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    label = random.normal(5, 2, 100)
    predicted = label + random.normal(0, 1, 100)

    assert r2(label, predicted) == pytest.approx(r2_score(label, predicted))
    assert squared_errors(label, predicted).mean() == pytest.approx(
        ((label - predicted) ** 2).mean()
    )
    assert np.isnan(r2(np.ones(3), np.ones(3)))


def test_a_certain_mistake_costs_much_and_not_everything() -> None:
    assert np.isfinite(log_losses(np.array([True]), np.array([0.0]))).all()


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    samples = (random.normal(size=80) for _ in range(200))
    held = [found.low <= 0 <= found.high for found in map(mean_interval, samples)]

    assert 0.9 <= np.mean(held) <= 0.985


def test_an_interval_narrows_with_more_rows() -> None:
    random = np.random.default_rng(0)
    widths = []
    for rows in (100, 2_500):
        label = random.random(rows) < 0.3
        found = measures_of(CONTRACT.task).quality_interval(
            label, label * 0.3 + random.random(rows)
        )
        assert found.low < found.value < found.high
        widths.append(found.high - found.low)

    assert widths[1] < widths[0] / 3


def test_calibration_compares_what_was_predicted_with_what_happened() -> None:
    label = np.array([False, True] * 50)
    predicted = np.full(100, 0.8)

    bins = calibration(label, predicted)

    assert sum(each.rows for each in bins) == 100
    assert calibration_error(bins) == pytest.approx(0.3)
    assert calibration_error([Bin(0.2, 0.2, 10), Bin(0.6, 0.5, 30)]) == pytest.approx(0.075)
