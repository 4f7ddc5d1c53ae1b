"""Trees."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx

from chassis.flights import CONTRACT
from chassis.rows import small_dataset
from ml_chassis.serving.predictor import Predictor
from ml_chassis.training.export import export
from model_service import gradient_boosting
from model_service.gradient_boosting import Parameters

CATEGORICAL = CONTRACT.categorical
NUMERIC = CONTRACT.numeric

PARAMETERS = Parameters(
    max_iter=40,
    learning_rate=0.1,
    max_leaf_nodes=4,
    min_samples_leaf=10,
    l2_regularization=1,
)


def test_numbers_at_a_threshold_go_the_same_way_in_the_graph() -> None:
    rows = small_dataset(200)  # with more values than bins, each threshold is a value
    mixed = replace(rows, label=np.random.default_rng(1).permutation(rows.label))
    model = gradient_boosting.fit(mixed, PARAMETERS, seed=1)
    graph = export(CONTRACT, model)
    thresholds = _thresholds(graph)
    around = [np.nextafter(thresholds, np.float32(end)) for end in (-np.inf, np.inf)]
    values = np.concatenate([thresholds, *around])
    numeric = np.repeat(values[:, np.newaxis], len(NUMERIC), axis=1)
    categorical = np.full((len(values), len(CATEGORICAL)), "a", object)

    answers = [each.predict(numeric, categorical) for each in (Predictor(CONTRACT, graph), model)]

    assert np.abs(answers[0] - answers[1]).max() < 1e-6


def _thresholds(graph: bytes) -> npt.NDArray[np.float32]:
    (values,) = (
        attribute.floats
        for node in onnx.load_from_string(graph).graph.node
        for attribute in node.attribute
        if attribute.name == "nodes_values"
    )
    return np.unique(np.array(values, np.float32))


def test_the_first_trees_are_what_fewer_iterations_fit() -> None:
    rows = small_dataset()
    model = gradient_boosting.fit(rows, PARAMETERS, seed=1)

    for each in gradient_boosting.smaller(model, rows, PARAMETERS, seed=1):
        fewer = Parameters.model_validate(each.parameters.model_dump())
        again = gradient_boosting.fit(rows, fewer, seed=1)
        assert export(CONTRACT, each.model) == export(CONTRACT, again)
    assert model.trees == 40
