"""What an estimator is: a module with a `fit` that gives a model which can become ONNX."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import onnx
from pydantic import BaseModel, ValidationError

from ..contract import Categorical, Contract, Labels, Numeric, Predictions
from ..errors import describe
from .config import ConfigError, TrainingConfig


@dataclass(frozen=True)
class Dataset:
    """Inputs of the model and the label, row by row, and perhaps when each was.

    Attributes:
        contract: The schema of the rows.
        numeric: Shape (rows, numeric columns), NaN where a value is missing.
        categorical: Shape (rows, categorical columns), "" where one is missing.
        label: Whether each label is true, or its value, or the index of its class; shape (rows,).
        time: When each row was, where rows know that; shape (rows,).
    """

    contract: Contract
    numeric: Numeric
    categorical: Categorical
    label: Labels
    time: npt.NDArray[np.datetime64] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.label)

    def __getitem__(self, rows: slice | npt.NDArray[np.intp]) -> "Dataset":
        """Return some of the rows: of a slice no value is copied, places are taken in order."""
        time = None if self.time is None else self.time[rows]
        numeric, categorical = self.numeric[rows], self.categorical[rows]
        return Dataset(self.contract, numeric, categorical, self.label[rows], time)

    @property
    def target(self) -> npt.NDArray[np.float64]:
        """What a perfect model would answer, shape (rows, *width)."""
        classes = self.contract.classes
        return np.eye(len(classes))[self.label] if classes else self.label.astype(np.float64)


def side_by_side(numeric: Numeric, categorical: Categorical) -> npt.NDArray[np.object_]:
    """Return both inputs as one table, categorical columns first, as scikit-learn takes them."""
    return np.hstack([categorical, numeric.astype(object)])


def predict(
    contract: Contract, pipeline: Any, numeric: Numeric, categorical: Categorical
) -> Predictions:
    """Return what a fitted pipeline of scikit-learn predicts."""
    rows = side_by_side(numeric, categorical)
    if contract.task == "regression":
        answer = pipeline.predict(rows)
    else:
        answer = pipeline.predict_proba(rows)
        answer = answer if contract.classes else answer[:, 1]
    return np.asarray(answer, np.float32)


class FittedModel(Protocol):
    """A trained model, preprocessing included."""

    def predict(self, numeric: Numeric, categorical: Categorical) -> Predictions:
        """Return predictions for raw values."""

    def to_onnx(self) -> onnx.ModelProto:
        """Return a graph from the inputs of the contract, where it has any, to its output."""


class Smaller(NamedTuple):
    """A fitted model of which a part was taken away."""

    name: str
    parameters: BaseModel
    """Those of a model of its size."""
    model: FittedModel


class Estimator(Protocol):
    """The module that [tool.chassis] names as the estimator."""

    PACKAGES: tuple[str, ...]
    """The libraries that make and export the model."""

    Parameters: type[BaseModel]
    """What may be set under [parameters] in training.toml."""

    def fit(self, train: Dataset, parameters: Any, seed: int) -> FittedModel:
        """Fit a model, with an instance of the module's own `Parameters`."""

    def smaller(self, model: Any, train: Dataset, parameters: Any, seed: int) -> Iterator[Smaller]:
        """Yield smaller models from a fitted one, for `make optimise`; a module may go without."""


def load(config: TrainingConfig) -> tuple[Estimator, BaseModel]:
    """Return the estimator and its parameters, checked.

    Raises:
        ConfigError: a parameter is unknown or out of range.
    """
    estimator = config.project.estimator
    try:
        return estimator, estimator.Parameters.model_validate(config.parameters)
    except ValidationError as error:
        raise ConfigError(f"[parameters] in training.toml: {describe(error)}") from None
