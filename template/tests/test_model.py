"""The model that is served is the one that was fitted, and is worth serving; for any schema."""

import numpy as np
import pytest
from ml_chassis import registry
from ml_chassis.measures import measures_of
from ml_chassis.project import Project
from ml_chassis.serving.predictor import Predictor
from ml_chassis.testing import Trained, valid_rows
from ml_chassis.training import estimator
from ml_chassis.training.config import TrainingConfig, read
from ml_chassis.training.estimator import Dataset
from ml_chassis.training.export import parity_difference
from ml_chassis.training.gates import judge
from ml_chassis.training.split import Split


@pytest.fixture(scope="module")
def config(project: Project) -> TrainingConfig:
    """Return what training.toml says."""
    return read(project)


@pytest.fixture(scope="module")
def rows(config: TrainingConfig, trained: Trained) -> tuple[Dataset, Dataset]:
    """Return the rows for training and those for evaluation."""
    return Split.of(config).divide(trained.store.features())


@pytest.fixture(scope="module")
def graph(trained: Trained) -> bytes:
    """Return the champion."""
    return registry.load(trained.models)[0]


def test_it_meets_every_gate(config: TrainingConfig, trained: Trained) -> None:
    gates = judge(trained.manifest.metrics, config.gates)

    assert [str(gate) for gate in gates if gate.passed is False] == []
    assert any(gate.passed for gate in gates)


def test_its_quality_is_the_one_that_was_registered(
    trained: Trained, rows: tuple[Dataset, Dataset], graph: bytes
) -> None:
    test = rows[1]

    predicted = Predictor(test.contract, graph).predict(test.numeric, test.categorical)

    quality = measures_of(test.contract.task).quality(test.label, predicted)
    registered = trained.manifest.metrics[test.contract.quality]
    assert registered == pytest.approx(quality, abs=1e-6)


def test_the_graph_answers_like_the_fitted_model(
    config: TrainingConfig, rows: tuple[Dataset, Dataset], graph: bytes
) -> None:
    train, test = rows
    module, parameters = estimator.load(config)

    again = module.fit(train, parameters, config.seed)

    largest = config.gates["parity_difference"].maximum
    assert largest is not None
    # Also with values that are missing, unknown, or at the bounds of the schema.
    assert parity_difference(again, graph, test) <= largest


def test_every_row_that_the_schema_allows_has_a_finite_answer(
    project: Project, graph: bytes
) -> None:
    contract = project.contract
    inputs = contract.to_arrays([contract.to_row(row) for row in valid_rows(contract, 1_000)])

    predicted = Predictor(contract, graph).predict(*inputs)

    assert predicted.shape == (1_000, *contract.width)
    assert np.isfinite(predicted).all()
