"""YOURS: what is fitted: a small neural network (PyTorch).

Embedded categories and scaled numbers, one hidden layer. `Parameters` is what [parameters] in
training.toml may say, `fit` trains, and `smaller` offers smaller networks to `make optimise`.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import onnx
import torch
from ml_chassis.contract import Categorical, Contract, Numeric, Predictions, Task
from ml_chassis.measures import SMALLEST
from ml_chassis.training.estimator import Dataset, Smaller
from ml_chassis.training.pytorch import codes_of, convert, encode
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

LAST: dict[Task, Callable[[], nn.Module]] = {
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
        self.task, self.width = train.contract.task, train.contract.width
        self.register_buffer("centre", torch.Tensor(known.mean(axis=0).filled(0)))
        self.register_buffer("scale", torch.Tensor(np.where(deviation > 0, deviation, 1)))
        self.embedding = nn.Embedding(categories, parameters.embedding_size)
        embedded = train.categorical.shape[1] * parameters.embedding_size
        self.layers = nn.Sequential(
            nn.Linear(2 * train.numeric.shape[1] + embedded, parameters.hidden_units),
            nn.ReLU(),
            nn.Dropout(parameters.dropout),
            nn.Linear(parameters.hidden_units, self.width[0] if self.width else 1),
            LAST[self.task](),
        )
        if self.task == "regression":
            self.label_centre = float(train.label.mean())
            self.label_scale = float(train.label.std())

    def forward(self, numeric: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Return predictions, shape (rows, *width); a missing number is average, and is missing."""
        inputs = []
        if numeric.shape[1]:
            missing = torch.isnan(numeric)
            scaled = torch.where(missing, 0.0, (numeric - self.centre) / self.scale)
            inputs += [scaled, missing.to(numeric.dtype)]
        if codes.shape[1]:
            inputs.append(self.embedding(codes).flatten(1))
        answer: torch.Tensor = self.layers(torch.cat(inputs, dim=1))
        if self.task == "regression":
            answer = answer * self.label_scale + self.label_centre
        return answer if self.width else answer.squeeze(1)


class NeuralNetwork:
    """A trained network and the codes of the categories that it has seen."""

    def __init__(self, contract: Contract, network: Network, codes: Mapping[str, int]) -> None:
        """Keep the schema, the network and the codes."""
        self._contract, self._network, self._codes = contract, network.eval(), codes

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
        _train(network, train, encode(train.categorical, self._codes), parameters)
        return NeuralNetwork(self._contract, network, self._codes)

    def predict(self, numeric: Numeric, categorical: Categorical) -> Predictions:
        """Return predictions, shape (rows, *width)."""
        with torch.no_grad():
            answer = self._network(torch.tensor(numeric), encode(categorical, self._codes))
        return np.asarray(answer.numpy(), dtype=np.float32)

    def to_onnx(self) -> onnx.ModelProto:
        """Return one graph: categories to codes, then the network."""
        return convert(self._contract, self._network, self._codes)


def fit(train: Dataset, parameters: Parameters, seed: int) -> NeuralNetwork:
    """Train the network; see `Estimator.fit`."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # faster for small layers, and the same sums on every machine
    codes = codes_of(train.categorical)
    network = Network(train, len(codes) + 1, parameters)
    _train(network, train, encode(train.categorical, codes), parameters)
    return NeuralNetwork(train.contract, network, codes)


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


def _train(network: Network, train: Dataset, codes: torch.Tensor, parameters: Parameters) -> None:
    """Minimise the loss with AdamW; say how far it is after each epoch."""
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=parameters.learning_rate, weight_decay=parameters.weight_decay
    )
    numeric = torch.tensor(train.numeric)
    label = torch.tensor(train.label, dtype=torch.int64 if network.width else torch.float32)
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
    if network.task == "binary":
        return nn.functional.binary_cross_entropy(answer, label)
    if network.task == "multiclass":
        return nn.functional.nll_loss(answer.clamp_min(SMALLEST).log(), label)
    return nn.functional.mse_loss(answer / network.label_scale, label / network.label_scale)
