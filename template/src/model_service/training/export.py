"""One ONNX graph from raw values to probability, and the proof that it answers the same."""

import numpy as np
import onnx

from ..contract import CATEGORICAL, CATEGORICAL_INPUT, NUMERIC, NUMERIC_INPUT, Categorical, Numeric
from ..serving.predictor import Predictor
from .estimator import Dataset, FittedModel

UNKNOWN_CATEGORY = "never seen in training"


def export(model: FittedModel) -> bytes:
    """Return the checked graph with the names of its columns inside.

    Raises:
        onnx.checker.ValidationError: the graph is not valid ONNX.
    """
    graph = model.to_onnx()
    onnx.helper.set_model_props(
        graph, {NUMERIC_INPUT: ",".join(NUMERIC), CATEGORICAL_INPUT: ",".join(CATEGORICAL)}
    )
    _forget_source(graph)
    # skl2onnx orders these by hash, which differs between processes; equal models get equal bytes.
    opsets = sorted(graph.opset_import, key=lambda opset: opset.domain)
    del graph.opset_import[:]
    graph.opset_import.extend(opsets)
    onnx.checker.check_model(graph, full_check=True)
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def _forget_source(model: onnx.ModelProto) -> None:
    """Drop what PyTorch notes of its source code, which holds paths of this machine."""
    bodies = [model.graph, *model.functions]
    parts = [model.graph, *model.functions, *(node for body in bodies for node in body.node)]
    parts += [*model.graph.input, *model.graph.output, *model.graph.initializer]
    for part in [*parts, *(value for body in bodies for value in body.value_info)]:
        del part.metadata_props[:]


def parity_difference(model: FittedModel, graph: bytes, rows: Dataset) -> float:
    """Return the largest difference between the graph and the fitted model.

    Compared on real rows, and on the same rows with every number missing and with every
    category unknown. NaN, which no gate accepts, where either answer is not finite.
    """
    predictor = Predictor(graph)
    missing = np.full_like(rows.numeric, np.nan)
    unknown = np.full_like(rows.categorical, UNKNOWN_CATEGORY)
    cases: list[tuple[Numeric, Categorical]] = [
        (rows.numeric, rows.categorical),
        (missing, rows.categorical),
        (rows.numeric, unknown),
    ]
    differences = [
        np.abs(predictor.predict(numeric, categorical) - model.predict(numeric, categorical)).max()
        for numeric, categorical in cases
    ]
    return float(np.max(differences))
