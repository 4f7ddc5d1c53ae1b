"""Gradient-boosted trees on histograms (scikit-learn), exported with skl2onnx."""

from collections.abc import Iterator
from copy import copy, deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper
from pydantic import BaseModel, ConfigDict, Field
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits

from ..contract import (
    CATEGORICAL_INPUT,
    NUMERIC_INPUT,
    OUTPUT,
    TASK,
    WIDTH,
    Categorical,
    Numeric,
    Predictions,
)
from .estimator import Dataset, Smaller, predict, side_by_side

PACKAGES = ("scikit-learn", "skl2onnx")
KEPT_TREES = (0.75, 0.5, 0.25, 0.125)


class Parameters(BaseModel):
    """Parameters of scikit-learn's HistGradientBoostingClassifier that may be tuned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_iter: int = Field(ge=1, le=5_000)
    learning_rate: float = Field(gt=0, le=1)
    max_leaf_nodes: int = Field(ge=2, le=1_024)
    min_samples_leaf: int = Field(ge=1)
    l2_regularization: float = Field(ge=0)


class GradientBoosting:
    """A fitted pipeline: categories to ordinal codes, then trees, which take missing numbers."""

    def __init__(self, pipeline: Pipeline, categorical: int, numeric: int) -> None:
        """Keep the pipeline and the widths of its two inputs."""
        self._pipeline = pipeline
        self._categorical = categorical
        self._numeric = numeric

    def predict(self, numeric: Numeric, categorical: Categorical) -> Predictions:
        """Return predictions, shape (rows, *WIDTH)."""
        return predict(self._pipeline, numeric, categorical)

    def to_onnx(self) -> onnx.ModelProto:
        """Return the whole pipeline as one graph, which decides every float32 alike."""
        inputs = [
            (CATEGORICAL_INPUT, StringTensorType([None, self._categorical])),
            (NUMERIC_INPUT, FloatTensorType([None, self._numeric])),
        ]
        trees = _with_float32_thresholds(self._pipeline["trees"])
        model: onnx.ModelProto = to_onnx(
            Pipeline([("columns", self._pipeline["columns"]), ("trees", trees)]),
            initial_types=[kind for kind in inputs if kind[1].shape[1]],
            options={} if TASK == "regression" else {"zipmap": False},
        )
        return _keep_prediction(model)

    @property
    def trees(self) -> int:
        """Return how many trees were fitted."""
        return int(self._pipeline["trees"].n_iter_)

    def first(self, trees: int) -> "GradientBoosting":
        """Return a model of the first trees."""
        fewer = copy(self._pipeline["trees"])
        fewer._predictors = fewer._predictors[:trees]
        pipeline = Pipeline([("columns", self._pipeline["columns"]), ("trees", fewer)])
        return GradientBoosting(pipeline, self._categorical, self._numeric)


def fit(train: Dataset, parameters: Parameters, seed: int) -> GradientBoosting:
    """Fit the pipeline; see `Estimator.fit`."""
    categorical, numeric = train.categorical.shape[1], train.numeric.shape[1]
    # Ordinal codes, not categorical_features: skl2onnx converts that silently wrong.
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer(
        [
            ("categorical", codes, list(range(categorical))),
            ("numeric", "passthrough", list(range(categorical, categorical + numeric))),
        ]
    )
    kind = HistGradientBoostingRegressor if TASK == "regression" else HistGradientBoostingClassifier
    trees = kind(random_state=seed, **parameters.model_dump())
    pipeline = Pipeline([("columns", columns), ("trees", trees)])
    with threadpool_limits(1, "openmp"):  # sums in one order: the same data, the same trees
        pipeline.fit(side_by_side(train.numeric, train.categorical), train.label)
    return GradientBoosting(pipeline, categorical, numeric)


def smaller(
    model: GradientBoosting, train: Dataset, parameters: Parameters, seed: int
) -> Iterator[Smaller]:
    """Yield the first trees only; see `Estimator.smaller`.

    Each tree corrects those before it, so they are what fewer iterations would have fitted.
    """
    del train, seed  # nothing is fitted again
    for share in KEPT_TREES:
        trees = max(1, round(share * model.trees))
        fewer = parameters.model_copy(update={"max_iter": trees})
        yield Smaller(f"{trees} trees", fewer, model.first(trees))


def _with_float32_thresholds(trees: Any) -> Any:
    """Return the trees with thresholds that ONNX, which keeps them as float32, does not round.

    Rounded to the nearest, a threshold may pass a value that lies on it, such as 17.2.
    """
    rounded = deepcopy(trees)
    for each in rounded._predictors:
        for tree in each:
            tree.nodes["num_threshold"] = _float32_at_most(tree.nodes["num_threshold"])
    return rounded


def _float32_at_most(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return the largest float32 that is not above each value: `x <= t` stays what it is."""
    with np.errstate(over="ignore"):  # beyond the range: infinite, and then the last before it
        nearest = values.astype(np.float32)
    return np.where(nearest > values, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def _keep_prediction(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace the outputs by what is predicted.

    They are the value, shape (rows, 1), or the label and the probability of each class.
    """
    graph = model.graph
    given = graph.output[-1].name
    if TASK == "multiclass":
        graph.node.append(helper.make_node("Identity", [given], [OUTPUT]))
    else:  # the only value, or the probability of true, the second class
        column = int(TASK == "binary")
        graph.initializer.append(helper.make_tensor("column", TensorProto.INT64, [], [column]))
        graph.node.append(helper.make_node("Gather", [given, "column"], [OUTPUT], axis=1))
    del graph.output[:]
    shape = [None, *WIDTH]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape))
    return model
