"""One ONNX graph from raw values to prediction, and the proof that it answers the same."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from ..contract import (
    CATEGORICAL_INPUT,
    NUMERIC_INPUT,
    Categorical,
    Contract,
    Numeric,
    Predictions,
)
from ..personal import MASK
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


class Parity(NamedTuple):
    """How far a graph is from the fitted model, and on which row.

    Attributes:
        difference: The largest; NaN, which no gate accepts, where an answer is not finite, or no
            probability where it should be one.
        row: The features of the row where it is, without personal values.
        fitted: What the fitted model answers, shape (*width,).
        exported: What the graph answers, shape (*width,).
    """

    difference: float
    row: dict[str, Any]
    fitted: Predictions
    exported: Predictions

    def __str__(self) -> str:
        """Return it as a sentence."""
        row = ", ".join(f"{name}={value!r}" for name, value in self.row.items())
        answers = (np.array2string(each, precision=9) for each in (self.exported, self.fitted))
        return "the graph answers {} where the fitted model answers {}: {}".format(*answers, row)


def parity(model: FittedModel, graph: bytes, rows: Dataset) -> Parity:
    """Return where the graph and the fitted model differ most.

    Compared on real rows; on the same rows with every number missing, and with every category
    unknown; and with each number in turn, and all of them, at the bounds of the schema.
    """
    predictor, contract = Predictor(rows.contract, graph), rows.contract
    found = list[Parity]()
    for numeric, categorical in _cases(rows):
        exported, fitted = (each.predict(numeric, categorical) for each in (predictor, model))
        apart = np.abs(exported - fitted).reshape(len(numeric), -1).max(axis=1)
        apart[~(_possible(contract, exported) & _possible(contract, fitted))] = np.nan
        at = int(np.argmax(apart))  # of NaN the first
        row = _readable(contract, numeric[at], categorical[at])
        found.append(Parity(float(apart[at]), row, fitted[at], exported[at]))
    return max(found, key=lambda each: (np.isnan(each.difference), each.difference))


def parity_difference(model: FittedModel, graph: bytes, rows: Dataset) -> float:
    """Return the largest difference between the graph and the fitted model; see `parity`."""
    return parity(model, graph, rows).difference


def _possible(contract: Contract, answers: Predictions) -> npt.NDArray[np.bool_]:
    """Return whether each answer is one that can be, shape (rows,)."""
    number = contract.task == "regression"
    good = np.isfinite(answers) if number else (answers >= 0) & (answers <= 1)
    rows: npt.NDArray[np.bool_] = np.logical_and.reduce(good.reshape(len(answers), -1), axis=1)
    return rows


def _readable(
    contract: Contract, numeric: npt.NDArray[Any], categorical: npt.NDArray[Any]
) -> dict[str, Any]:
    """Return a row of the arrays by its features; a missing value is None."""
    values: dict[str, Any] = {
        **{
            name: value or None
            for name, value in zip(contract.categorical, categorical, strict=True)
        },
        **{
            name: None if np.isnan(value) else float(value)
            for name, value in zip(contract.numeric, numeric, strict=True)
        },
    }
    return {
        each.name: MASK if each.personal else values[each.name]
        for each in contract.features
        if each.name in values
    }


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
