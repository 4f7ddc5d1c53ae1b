"""One ONNX graph from raw values to prediction, and the proof that it answers the same."""

from collections.abc import Iterator

import numpy as np
import onnx

from ..contract import (
    CATEGORICAL_INPUT,
    NUMERIC_INPUT,
    Categorical,
    Contract,
    Numeric,
    Predictions,
)
from ..serving.predictor import Predictor
from .estimator import Dataset, FittedModel

UNKNOWN_CATEGORY = "never seen in training"
EXTREME_ROWS = 50


def bounds(contract: Contract) -> Numeric:
    """Return the least and the most of each number, shape (2, numeric columns).

    False and true are 0 and 1.
    """
    ends = [
        (
            next(each for each in (column.minimum, column.above, 0) if each is not None),
            next(each for each in (column.maximum, column.below, 1) if each is not None),
        )
        for column in contract.features
        if column.kind == "numeric"
    ]
    return np.array(ends, np.float32).reshape(-1, 2).T


def export(contract: Contract, model: FittedModel) -> bytes:
    """Return the checked graph with the names of its columns inside.

    Raises:
        onnx.checker.ValidationError: the graph is not valid ONNX.
    """
    graph = model.to_onnx()
    onnx.helper.set_model_props(
        graph,
        {
            NUMERIC_INPUT: ",".join(contract.numeric),
            CATEGORICAL_INPUT: ",".join(contract.categorical),
        },
    )
    _forget_source(graph)
    # skl2onnx orders these by hash, which differs between processes; equal models get equal bytes.
    # Merged graphs name one twice, which quantization does not take.
    opsets = sorted({(opset.domain, opset.version) for opset in graph.opset_import})
    del graph.opset_import[:]
    graph.opset_import.extend(onnx.helper.make_opsetid(*opset) for opset in opsets)
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

    Compared on real rows; on the same rows with every number missing, and with every category
    unknown; and with each number in turn, and all of them, at the bounds of the schema. NaN, which
    no gate accepts, where an answer is not finite, or no probability where it should be one.
    """
    predictor = Predictor(rows.contract, graph)
    differences = []
    for numeric, categorical in _cases(rows):
        answers = [each.predict(numeric, categorical) for each in (predictor, model)]
        possible = all(_is_possible(rows.contract, answer) for answer in answers)
        differences.append(np.abs(answers[0] - answers[1]).max() if possible else np.nan)
    return float(np.max(differences))


def _is_possible(contract: Contract, answer: Predictions) -> bool:
    if contract.task == "regression":
        return bool(np.isfinite(answer).all())
    return bool(((answer >= 0) & (answer <= 1)).all())


def _cases(rows: Dataset) -> Iterator[tuple[Numeric, Categorical]]:
    yield rows.numeric, rows.categorical
    yield np.full_like(rows.numeric, np.nan), rows.categorical
    yield rows.numeric, np.full_like(rows.categorical, UNKNOWN_CATEGORY)
    numeric, categorical = rows.numeric[:EXTREME_ROWS], rows.categorical[:EXTREME_ROWS]
    for ends in bounds(rows.contract):
        yield np.broadcast_to(ends, numeric.shape).copy(), categorical
        for position, bound in enumerate(ends):
            extreme = numeric.copy()
            extreme[:, position] = bound
            yield extreme, categorical
