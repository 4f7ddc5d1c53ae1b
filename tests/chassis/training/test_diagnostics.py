"""The confusion matrix, the precision-recall curve and the residuals say what happened."""

import numpy as np
import pytest

from chassis.services import apples, flats, pumps
from ml_chassis.contract import Contract
from ml_chassis.training.diagnostics import diagnose

SERVICES = [Contract(each.Features, each.LabelledFeatures) for each in (apples, flats, pumps)]
CONTRACTS = {each.task: each for each in SERVICES}


def test_what_is_true_or_false_has_a_confusion_matrix_at_the_threshold_and_a_curve() -> None:
    label = np.array([False, False, False, True, True])
    predicted = np.array([0.1, 0.4, 0.6, 0.5, 0.9], np.float32)

    found = diagnose(CONTRACTS["binary"], label, predicted, 0.5)

    assert found.classes == ("false", "true")
    assert found.confusion is not None
    assert found.confusion.tolist() == [[2, 1], [0, 2]]
    assert found.precision_recall[0] == (0, 1)
    assert found.precision_recall[-1] == (1, 2 / 5)
    assert found.residuals is None


def test_classes_are_counted_by_the_most_probable_one() -> None:
    contract = CONTRACTS["multiclass"]
    width = len(contract.classes)
    label = np.arange(width).repeat(2)
    chosen = np.concatenate([[0], label[:-1]])

    found = diagnose(contract, label, np.eye(width, dtype=np.float32)[chosen], 0.5)

    assert found.classes == contract.classes
    assert found.confusion is not None
    assert np.diag(found.confusion).tolist() == [2, *[1] * (width - 1)]
    assert found.confusion.sum() == len(label)
    assert list(found.precision_recall) == []


def test_numbers_have_quantiles_of_residuals_along_what_was_predicted() -> None:
    random = np.random.default_rng(0)
    predicted = random.uniform(0, 100, 20_000).astype(np.float32)
    label = predicted + random.normal(size=len(predicted)) * np.where(predicted < 50, 1, 10)

    found = diagnose(CONTRACTS["regression"], label, predicted, 0.5)

    assert found.confusion is None
    assert found.residuals
    middle, high = found.residuals["median"], found.residuals["95th percentile"]
    assert all(abs(y) < 1 for _, y in middle)
    assert [x for x, _ in middle] == sorted(x for x, _ in middle)
    assert all(y == pytest.approx(1.64 if x < 50 else 16.4, rel=0.2) for x, y in high)
