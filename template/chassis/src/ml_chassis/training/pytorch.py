"""From networks of PyTorch to ONNX, and back from categories to codes, for estimators of it."""

import logging
import warnings
from collections.abc import Mapping

import onnx
import torch
from onnx import TensorProto, compose, helper

from ..contract import CATEGORICAL_INPUT, NUMERIC_INPUT, Categorical, Contract

OPSET = 18
CODES = "codes"
UNKNOWN = 0
"""The code of a category that was not seen in training."""


def codes_of(categorical: Categorical) -> dict[str, int]:
    """Return a code from 1 on for each category that was seen."""
    seen = sorted({str(value) for value in categorical.ravel()})
    return {value: code for code, value in enumerate(seen, start=UNKNOWN + 1)}


def encode(categorical: Categorical, codes: Mapping[str, int]) -> torch.Tensor:
    """Return the codes of categories, shape (rows, categorical columns)."""
    found = [codes.get(value, UNKNOWN) for value in categorical.ravel()]
    return torch.tensor(found, dtype=torch.int64).reshape(categorical.shape)


def convert(
    contract: Contract, network: torch.nn.Module, codes: Mapping[str, int]
) -> onnx.ModelProto:
    """Return one graph: categories to codes, then the network.

    Args:
        contract: The schema.
        network: From numbers, shape (rows, numeric columns), and codes, shape (rows, categorical
            columns), to predictions, shape (rows, *width).
        codes: The code of each category.
    """
    columns = len(contract.categorical)
    example = (
        torch.zeros(2, len(contract.numeric)),
        torch.zeros(2, columns, dtype=torch.int64),
    )
    rows = torch.export.Dim("rows")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of its own use of its own functions
        program = torch.onnx.export(
            network,
            example,
            input_names=[NUMERIC_INPUT, CODES],
            output_names=[contract.output],
            dynamic_shapes=({0: rows}, {0: rows}),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:  # says its type; with dynamo there always is one
        raise RuntimeError("PyTorch gave no ONNX program.")
    graph = _without_empty_inputs(program.model_proto)
    return _with_encoder(graph, codes, columns) if columns else graph


def _without_empty_inputs(network: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the input for a kind of feature that the schema does not have."""
    used = {name for node in network.graph.node for name in node.input}
    kept = [node for node in network.graph.input if node.name in used]
    del network.graph.input[:]
    network.graph.input.extend(kept)
    return network


def _with_encoder(
    network: onnx.ModelProto, codes: Mapping[str, int], columns: int
) -> onnx.ModelProto:
    """Put the encoding of the categories in front of the exported network."""
    encoder = helper.make_node(
        "LabelEncoder",
        [CATEGORICAL_INPUT],
        [CODES],
        domain="ai.onnx.ml",
        keys_strings=list(codes),
        values_int64s=list(codes.values()),
        default_int64=UNKNOWN,
    )
    graph = helper.make_graph(
        [encoder],
        "encoder",
        [helper.make_tensor_value_info(CATEGORICAL_INPUT, TensorProto.STRING, [None, columns])],
        [helper.make_tensor_value_info(CODES, TensorProto.INT64, [None, columns])],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    front = helper.make_model(graph, opset_imports=opsets, ir_version=network.ir_version)
    return compose.merge_models(front, network, io_map=[(CODES, CODES)])
