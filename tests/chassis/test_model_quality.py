"""The model that would be served is worth serving: on months that it has not seen."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from chassis.flights import CONTRACT, PROJECT
from ml_chassis import registry
from ml_chassis.contract import Predictions
from ml_chassis.serving.predictor import Predictor
from ml_chassis.testing import Trained
from ml_chassis.training.config import read
from ml_chassis.training.estimator import Dataset
from ml_chassis.training.split import Split


@pytest.fixture(scope="module")
def rows(trained: Trained) -> tuple[Dataset, Dataset]:
    return Split.of(read(PROJECT)).divide(trained.store.features())


@pytest.fixture(scope="module")
def predicted(trained: Trained, rows: tuple[Dataset, Dataset]) -> Predictions:
    graph, _ = registry.load(trained.models)
    return Predictor(CONTRACT, graph).predict(rows[1].numeric, rows[1].categorical)


def test_it_is_above_the_stated_floor(
    rows: tuple[Dataset, Dataset], predicted: Predictions
) -> None:
    floor = read(PROJECT).gates["auc"].minimum

    assert floor is not None
    assert roc_auc_score(rows[1].label, predicted) >= floor


def test_it_beats_always_answering_the_base_rate(
    rows: tuple[Dataset, Dataset], predicted: Predictions
) -> None:
    train, test = rows
    baseline = log_loss(test.label, np.full(len(test), train.label.mean()))

    assert log_loss(test.label, predicted) < baseline


def test_its_probabilities_are_probabilities(predicted: Predictions) -> None:
    assert ((predicted >= 0) & (predicted <= 1)).all()


def test_the_manifest_tells_the_quality_of_this_very_model(
    trained: Trained, rows: tuple[Dataset, Dataset], predicted: Predictions
) -> None:
    measured = roc_auc_score(rows[1].label, predicted)

    assert trained.manifest.metrics["auc"] == pytest.approx(measured, abs=1e-6)
