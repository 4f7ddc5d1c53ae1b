"""What an estimator is: a module with a `fit` that gives a model which can become ONNX."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import onnx

from ..contract import Categorical, Numeric

Probability = npt.NDArray[np.float32]
"""Probability that the label is true, shape (rows,)."""

NUMERIC_INPUT = "numeric"
CATEGORICAL_INPUT = "categorical"
OUTPUT = "probability"


@dataclass(frozen=True)
class Dataset:
    """Inputs of the model and the label, row by row."""

    numeric: Numeric
    categorical: Categorical
    label: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.label)


class FittedModel(Protocol):
    """A trained model, preprocessing included."""

    def predict(self, numeric: Numeric, categorical: Categorical) -> Probability:
        """Return the probability of the label for raw values."""

    def to_onnx(self) -> onnx.ModelProto:
        """Return a graph from the inputs `numeric` and `categorical` to `probability`."""


class Estimator(Protocol):
    """A module such as `gradient_boosting`."""

    def fit(self, train: Dataset, parameters: Mapping[str, Any], seed: int) -> FittedModel:
        """Fit a model.

        Raises:
            pydantic.ValidationError: a parameter is unknown or out of range.
        """


def load(name: str) -> Estimator:
    """Return the estimator with the name of its module.

    Raises:
        ModuleNotFoundError: there is no such module in this package.
    """
    return cast(Estimator, import_module(f"{__package__}.{name}"))
