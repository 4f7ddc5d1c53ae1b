"""Trees of scikit-learn answer in ONNX as they do in Python, on tables in tenths, too."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn import datasets, ensemble
from sklearn.model_selection import train_test_split

from ml_chassis.training.scikit_learn import with_float32_thresholds

TABLES: dict[str, tuple[Callable[..., Any], Any, Any]] = {
    "iris": (
        datasets.load_iris,
        ensemble.HistGradientBoostingClassifier,
        ensemble.RandomForestClassifier,
    ),
    "wine": (
        datasets.load_wine,
        ensemble.HistGradientBoostingClassifier,
        ensemble.RandomForestClassifier,
    ),
    "diabetes": (
        datasets.load_diabetes,
        ensemble.HistGradientBoostingRegressor,
        ensemble.RandomForestRegressor,
    ),
}
SPLITS = 20
CLOSE = 1e-5


def difference(
    load: Callable[..., Any], model: Any, seed: int, change: Callable[[Any], Any]
) -> float:
    """Return how far a graph is from the model that it was made of, as a share of the largest."""
    values, label = load(return_X_y=True)
    train, test, known, _ = train_test_split(values, label, random_state=seed)
    model.set_params(random_state=seed).fit(train.astype(np.float32), known)
    classes = hasattr(model, "predict_proba")
    sent = np.concatenate([test, train]).astype(np.float32)
    fitted = model.predict_proba(sent) if classes else model.predict(sent)
    graph = to_onnx(
        change(model),
        initial_types=[("x", FloatTensorType([None, values.shape[1]]))],
        options={"zipmap": False} if classes else None,
    )
    answer = ort.InferenceSession(graph.SerializeToString()).run(None, {"x": sent})[-1]
    return float(np.abs(answer.reshape(fitted.shape) - fitted).max() / np.abs(fitted).max())


@pytest.mark.parametrize("table", TABLES)
def test_a_value_on_a_threshold_goes_the_way_of_the_model(table: str) -> None:
    load, kind, _ = TABLES[table]
    model = kind(max_iter=20)

    changed = [difference(load, model, seed, with_float32_thresholds) for seed in range(SPLITS)]
    plain = [difference(load, model, seed, lambda trees: trees) for seed in range(SPLITS)]

    assert max(changed) < CLOSE
    assert max(plain) > 10 * CLOSE


@pytest.mark.parametrize("table", TABLES)
def test_a_forest_needs_nothing_of_the_kind(table: str) -> None:
    load, _, kind = TABLES[table]
    model = kind(n_estimators=5)

    assert max(difference(load, model, seed, lambda trees: trees) for seed in range(5)) < CLOSE
