"""A linear model of any of the services, as a graph and as a formula."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ml_chassis import registry
from ml_chassis.contract import CATEGORICAL_INPUT, NUMERIC_INPUT, Contract
from ml_chassis.fallback import Fallback
from ml_chassis.monitoring.drift import Reference

Scores = npt.NDArray[np.float64]

OPSETS = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8
ACTIVATIONS = {"binary": "Sigmoid", "multiclass": "Softmax", "regression": "Identity"}


def graph(contract: Contract) -> bytes:
    """Return the model as ONNX; a text counts as its place among the choices, from 1."""
    codes = _codes(contract)
    constants = {
        "zero": np.float32(0),
        "weights": _weights(contract).astype(np.float32),
        "shape": np.array([-1, *contract.width], np.int64),
    }
    nodes = [
        helper.make_node("IsNaN", [NUMERIC_INPUT], ["missing"]),
        helper.make_node("Where", ["missing", "zero", NUMERIC_INPUT], ["numbers"]),
        helper.make_node(
            "LabelEncoder",
            [CATEGORICAL_INPUT],
            ["codes"],
            domain="ai.onnx.ml",
            keys_strings=list(codes),
            values_floats=list(codes.values()),
        ),
        helper.make_node("Concat", ["numbers", "codes"], ["values"], axis=1),
        helper.make_node("MatMul", ["values", "weights"], ["scores"]),
        helper.make_node(ACTIVATIONS[contract.task], ["scores"], ["answers"]),
        helper.make_node("Reshape", ["answers", "shape"], [contract.output]),
    ]
    made = helper.make_graph(
        nodes,
        "linear",
        [
            _tensor(NUMERIC_INPUT, TensorProto.FLOAT, len(contract.numeric)),
            _tensor(CATEGORICAL_INPUT, TensorProto.STRING, len(contract.categorical)),
        ],
        [_tensor(contract.output, TensorProto.FLOAT, *contract.width)],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()],
    )
    opsets = [helper.make_opsetid(*each) for each in OPSETS.items()]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def answers(contract: Contract, rows: list[dict[str, Any]]) -> Scores:
    """Return what the model says of rows, by the formula; shape (rows, *width)."""
    codes = _codes(contract)
    values = [
        [
            *(row[name] or 0 for name in contract.numeric),
            *(codes.get(row[name], 0) for name in contract.categorical),
        ]
        for row in rows
    ]
    scores: Scores = np.array(values, np.float64) @ _weights(contract)
    if contract.task == "binary":
        scores = 1 / (1 + np.exp(-scores))
    if contract.task == "multiclass":
        scores = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return scores.reshape(-1, *contract.width)


def promote(contract: Contract, root: Path, rows: list[dict[str, Any]]) -> str:
    """Register the model, make it the champion, and return its version."""
    numeric, categorical = contract.to_arrays([contract.to_row(row) for row in rows])
    predictions = answers(contract, rows).astype(np.float32)
    manifest = registry.register(
        root,
        graph(contract),
        schema_sha256=contract.fingerprint,
        data_sha256="d",
        config_sha256="c",
        code_version="unknown",
        test_from=date(2026, 1, 1),
        data_until=datetime(2026, 1, 31, tzinfo=UTC),
        estimator="linear",
        parameters={},
        rows={},
        metrics={},
        packages={},
        fallback=Fallback.fit(contract, categorical, predictions, "kind"),
        reference=Reference.fit(contract, numeric, categorical, predictions),
    )
    registry.promote(contract, root, manifest.version, "it is the first", "Jo")
    return manifest.version


def _codes(contract: Contract) -> dict[str, float]:
    texts = (contract.by_name[name].choices or () for name in contract.categorical)
    return {text: float(at) for choices in texts for at, text in enumerate(choices, 1)}


def _weights(contract: Contract) -> Scores:
    """Return one weight per column and output; no two columns have the same."""
    columns = np.arange(1, len(contract.features) + 1)
    outputs = np.arange(1, len(contract.classes or (None,)) + 1)
    return np.outer(columns, outputs) / 1_000


def _tensor(name: str, kind: int, *width: int) -> Any:
    return helper.make_tensor_value_info(name, kind, ["rows", *width])
