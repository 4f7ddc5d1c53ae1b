"""A small neural network (PyTorch): embedded categories, scaled numbers, one hidden layer."""

import logging
import warnings
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

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
from .estimator import Dataset, Smaller
from .measures import SMALLEST

OPSET = 18
CODES = "codes"
UNKNOWN = 0
LAST: dict[str, Callable[[], nn.Module]] = {
    "binary": nn.Sigmoid,
    "multiclass": partial(nn.Softmax, dim=1),
    "regression": nn.Identity,
}
PACKAGES = ("onnxscript", "torch")
KEPT_UNITS = (0.5, 0.25, 0.125)
FINE_TUNING = 0.25
"""Epochs after a part of the units was taken away, as a share of those of the training."""


class Parameters(BaseModel):
    """Size of the network and how it is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden_units: int = Field(ge=1, le=4_096)
    embedding_size: int = Field(ge=1, le=256)
    dropout: float = Field(ge=0, lt=1)
    learning_rate: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0)
    batch_size: int = Field(ge=1)
    epochs: int = Field(ge=1, le=1_000)


class Network(nn.Module):
    """Predictions from raw numbers, NaN where missing, and codes of categories."""

    centre: torch.Tensor
    scale: torch.Tensor
    label_centre: float = 0
    label_scale: float = 1

    def __init__(self, train: Dataset, categories: int, parameters: Parameters) -> None:
        """Take the sizes of the layers, and centres and scales, from the training rows."""
        super().__init__()
        known = np.ma.masked_invalid(train.numeric)  # a column may be missing throughout
        deviation = known.std(axis=0).filled(0)
        self.register_buffer("centre", torch.Tensor(known.mean(axis=0).filled(0)))
        self.register_buffer("scale", torch.Tensor(np.where(deviation > 0, deviation, 1)))
        self.embedding = nn.Embedding(categories, parameters.embedding_size)
        embedded = train.categorical.shape[1] * parameters.embedding_size
        self.layers = nn.Sequential(
            nn.Linear(2 * train.numeric.shape[1] + embedded, parameters.hidden_units),
            nn.ReLU(),
            nn.Dropout(parameters.dropout),
            nn.Linear(parameters.hidden_units, WIDTH[0] if WIDTH else 1),
            LAST[TASK](),
        )
        if TASK == "regression":
            self.label_centre = float(train.label.mean())
            self.label_scale = float(train.label.std())

    def forward(self, numeric: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Return predictions, shape (rows, *WIDTH); a missing number is average, and is missing."""
        inputs = []
        if numeric.shape[1]:
            missing = torch.isnan(numeric)
            scaled = torch.where(missing, 0.0, (numeric - self.centre) / self.scale)
            inputs += [scaled, missing.to(numeric.dtype)]
        if codes.shape[1]:
            inputs.append(self.embedding(codes).flatten(1))
        answer: torch.Tensor = self.layers(torch.cat(inputs, dim=1))
        if TASK == "regression":
            answer = answer * self.label_scale + self.label_centre
        return answer if WIDTH else answer.squeeze(1)


class NeuralNetwork:
    """A trained network and the codes of the categories that it has seen."""

    def __init__(self, network: Network, codes: dict[str, int], columns: int) -> None:
        """Keep the network, the codes and the number of categorical columns."""
        self._network = network.eval()
        self._codes = codes
        self._columns = columns

    def keep_units(
        self, units: int, train: Dataset, parameters: Parameters, seed: int
    ) -> "NeuralNetwork":
        """Return a network of the strongest hidden units, trained on for a while.

        Args:
            units: How many are kept.
            train: What the network was trained on.
            parameters: Those of a network of that size.
            seed: Of the training.
        """
        torch.manual_seed(seed)
        state = self._network.state_dict()
        before, after = state["layers.0.weight"], state["layers.3.weight"]
        strength = before.abs().sum(1) * after.abs().sum(0)
        kept = strength.topk(units).indices.sort().values
        state["layers.0.weight"] = before[kept]
        state["layers.0.bias"] = state["layers.0.bias"][kept]
        state["layers.3.weight"] = after[:, kept]
        network = Network(train, len(self._codes) + 1, parameters)
        network.load_state_dict(state)
        _train(network, train, _encode(train.categorical, self._codes), parameters)
        return NeuralNetwork(network, self._codes, self._columns)

    def predict(self, numeric: Numeric, categorical: Categorical) -> Predictions:
        """Return predictions, shape (rows, *WIDTH)."""
        with torch.no_grad():
            answer = self._network(torch.tensor(numeric), _encode(categorical, self._codes))
        return np.asarray(answer.numpy(), dtype=np.float32)

    def to_onnx(self) -> onnx.ModelProto:
        """Return one graph: categories to codes, then the network."""
        example = (
            torch.zeros(2, len(self._network.centre)),
            torch.zeros(2, self._columns, dtype=torch.int64),
        )
        rows = torch.export.Dim("rows")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of its own use of its own functions
            program = torch.onnx.export(
                self._network,
                example,
                input_names=[NUMERIC_INPUT, CODES],
                output_names=[OUTPUT],
                dynamic_shapes=({0: rows}, {0: rows}),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        if program is None:  # says its type; with dynamo there always is one
            raise RuntimeError("PyTorch gave no ONNX program.")
        network = _without_empty_inputs(program.model_proto)
        return _with_encoder(network, self._codes, self._columns) if self._columns else network


def fit(train: Dataset, parameters: Parameters, seed: int) -> NeuralNetwork:
    """Train the network; see `Estimator.fit`."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # faster for small layers, and the same sums on every machine
    seen = sorted({str(value) for value in train.categorical.ravel()})
    codes = {value: code for code, value in enumerate(seen, start=UNKNOWN + 1)}
    network = Network(train, len(codes) + 1, parameters)
    _train(network, train, _encode(train.categorical, codes), parameters)
    return NeuralNetwork(network, codes, train.categorical.shape[1])


def smaller(
    model: NeuralNetwork, train: Dataset, parameters: Parameters, seed: int
) -> Iterator[Smaller]:
    """Yield networks of fewer hidden units; see `Estimator.smaller`.

    Whole units, after Li et al., 2017, "Pruning filters for efficient ConvNets": single weights
    that are zero are multiplied like others, so nothing is gained when the model is asked.
    """
    epochs = max(1, round(FINE_TUNING * parameters.epochs))
    for share in KEPT_UNITS:
        units = max(1, round(share * parameters.hidden_units))
        fewer = parameters.model_copy(update={"hidden_units": units})
        short = fewer.model_copy(update={"epochs": epochs})
        yield Smaller(f"{units} units", fewer, model.keep_units(units, train, short, seed))


def _encode(categorical: Categorical, codes: dict[str, int]) -> torch.Tensor:
    """Return the codes of categories, shape (rows, categorical columns)."""
    found = [codes.get(value, UNKNOWN) for value in categorical.ravel()]
    return torch.tensor(found, dtype=torch.int64).reshape(categorical.shape)


def _train(network: Network, train: Dataset, codes: torch.Tensor, parameters: Parameters) -> None:
    """Minimise the loss with AdamW; say how far it is after each epoch."""
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=parameters.learning_rate, weight_decay=parameters.weight_decay
    )
    numeric = torch.tensor(train.numeric)
    label = torch.tensor(train.label, dtype=torch.int64 if WIDTH else torch.float32)
    for epoch in range(1, parameters.epochs + 1):
        total = 0.0
        order = torch.randperm(len(train))
        for start in range(0, len(train), parameters.batch_size):
            batch = order[start : start + parameters.batch_size]
            loss = _loss(network, network(numeric[batch], codes[batch]), label[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item() * len(batch)
        print(f"      epoch {epoch} of {parameters.epochs}: loss {total / len(train):.4f}")


def _loss(network: Network, answer: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the mean log loss, or the mean squared error in standard deviations of the label."""
    if TASK == "binary":
        return nn.functional.binary_cross_entropy(answer, label)
    if TASK == "multiclass":
        return nn.functional.nll_loss(answer.clamp_min(SMALLEST).log(), label)
    return nn.functional.mse_loss(answer / network.label_scale, label / network.label_scale)


def _without_empty_inputs(network: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the input for a kind of feature that the schema does not have."""
    used = {name for node in network.graph.node for name in node.input}
    kept = [node for node in network.graph.input if node.name in used]
    del network.graph.input[:]
    network.graph.input.extend(kept)
    return network


def _with_encoder(network: onnx.ModelProto, codes: dict[str, int], columns: int) -> onnx.ModelProto:
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
