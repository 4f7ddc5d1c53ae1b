"""From fitted pipelines of scikit-learn to predictions and to ONNX, for estimators that use it."""

from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType

from ..contract import CATEGORICAL_INPUT, NUMERIC_INPUT, Categorical, Contract, Numeric, Predictions
from . import estimator


class Fitted:
    """A fitted pipeline; its steps take the categorical columns first, then the numeric ones."""

    def __init__(self, contract: Contract, pipeline: Any) -> None:
        """Keep the pipeline, and the schema of the rows that it takes."""
        self.contract, self.pipeline = contract, pipeline

    def predict(self, numeric: Numeric, categorical: Categorical) -> Predictions:
        """Return predictions, shape (rows, *width)."""
        return estimator.predict(self.contract, self.pipeline, numeric, categorical)

    def to_onnx(self) -> onnx.ModelProto:
        """Return the whole pipeline as one graph."""
        return convert(self.contract, self.pipeline)


def convert(contract: Contract, pipeline: Any) -> onnx.ModelProto:
    """Return a pipeline as a graph from the inputs of the contract to its output.

    Raises:
        skl2onnx.common.exceptions.MissingConverter: a step has no counterpart in ONNX.
    """
    inputs = [
        (CATEGORICAL_INPUT, StringTensorType([None, len(contract.categorical)])),
        (NUMERIC_INPUT, FloatTensorType([None, len(contract.numeric)])),
    ]
    model: onnx.ModelProto = to_onnx(
        pipeline,
        initial_types=[kind for kind in inputs if kind[1].shape[1]],
        options={} if contract.task == "regression" else {"zipmap": False},
    )
    return _keep_prediction(contract, model)


def with_float32_thresholds(trees: Any) -> Any:
    """Return histogram gradient boosting whose thresholds ONNX, in float32, does not round.

    Rounded to the nearest, a threshold may pass a value that lies on it, such as 17.2. Other trees
    of scikit-learn need nothing of the kind: skl2onnx lowers their thresholds.
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


def _keep_prediction(contract: Contract, model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace the outputs by what is predicted.

    They are the value, shape (rows, 1), or the label and the probability of each class.
    """
    graph, output = model.graph, contract.output
    given = graph.output[-1].name
    if contract.task == "multiclass":
        graph.node.append(helper.make_node("Identity", [given], [output]))
    else:  # the only value, or the probability of true, the second class
        column = int(contract.task == "binary")
        graph.initializer.append(helper.make_tensor("column", TensorProto.INT64, [], [column]))
        graph.node.append(helper.make_node("Gather", [given, "column"], [output], axis=1))
    del graph.output[:]
    shape = [None, *contract.width]
    graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))
    return model
