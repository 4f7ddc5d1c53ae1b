"""What an estimator is: a module with a `fit` that gives a model which can become ONNX."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt
import onnx
from pydantic import BaseModel, ValidationError

from ..contract import CLASSES, TASK, Categorical, Labels, Numeric, Predictions
from ..errors import describe
from .config import ConfigError, TrainingConfig


@dataclass(frozen=True)
class Dataset:
    """Inputs of the model and the label, row by row, and perhaps when each was."""

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
        return Dataset(self.numeric[rows], self.categorical[rows], self.label[rows], time)

    @property
    def target(self) -> npt.NDArray[np.float64]:
        """What a perfect model would answer, shape (rows, *WIDTH)."""
        return np.eye(len(CLASSES))[self.label] if CLASSES else self.label.astype(np.float64)


def side_by_side(numeric: Numeric, categorical: Categorical) -> npt.NDArray[np.object_]:
    """Return both inputs as one table, categorical columns first, as scikit-learn takes them."""
    return np.hstack([categorical, numeric.astype(object)])


def predict(pipeline: Any, numeric: Numeric, categorical: Categorical) -> Predictions:
    """Return what a fitted pipeline of scikit-learn predicts."""
    rows = side_by_side(numeric, categorical)
    if TASK == "regression":
        answer = pipeline.predict(rows)
    else:
        answer = pipeline.predict_proba(rows)
        answer = answer if CLASSES else answer[:, 1]
    return np.asarray(answer, np.float32)


class FittedModel(Protocol):
    """A trained model, preprocessing included."""

    def predict(self, numeric: Numeric, categorical: Categorical) -> Predictions:
        """Return predictions for raw values."""

    def to_onnx(self) -> onnx.ModelProto:
        """Return a graph from `numeric` and `categorical`, where it has any, to `OUTPUT`."""


class Smaller(NamedTuple):
    """A fitted model of which a part was taken away."""

    name: str
    parameters: BaseModel
    """Those of a model of its size."""
    model: FittedModel


class Estimator(Protocol):
    """A module such as `gradient_boosting`."""

    PACKAGES: tuple[str, ...]
    """The libraries that make and export the model."""

    Parameters: type[BaseModel]
    """What may be set under [parameters] in training.toml."""

    def fit(self, train: Dataset, parameters: Any, seed: int) -> FittedModel:
        """Fit a model, with an instance of the module's own `Parameters`."""

    def smaller(self, model: Any, train: Dataset, parameters: Any, seed: int) -> Iterator[Smaller]:
        """Yield smaller models from a fitted one, for `make optimise`; a module may go without."""


def load(config: TrainingConfig) -> tuple[Estimator, BaseModel]:
    """Return the estimator of training.toml and its parameters, checked.

    Raises:
        ConfigError: there is no such estimator, or a parameter is unknown or out of range.
    """
    if not find_spec(f"{__package__}.{config.estimator}"):
        raise ConfigError(f"There is no src/model_service/training/{config.estimator}.py.")
    estimator = cast(Estimator, import_module(f"{__package__}.{config.estimator}"))
    try:
        return estimator, estimator.Parameters.model_validate(config.parameters)
    except ValidationError as error:
        raise ConfigError(f"[parameters] in training.toml: {describe(error)}") from None
