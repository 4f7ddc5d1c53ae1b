"""What is answered while the model cannot: the mean of the label in training, by group."""

from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from .contract import Categorical, Contract, Prediction, Rows, Table

PRIOR_ROWS = 20


class Fallback(BaseModel):
    """A prediction per value of one categorical feature, and one for all other rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group_by: str
    value: dict[str, Prediction]
    otherwise: Prediction

    @classmethod
    def fit(
        cls,
        contract: Contract,
        categorical: Categorical,
        target: npt.NDArray[np.floating],
        group_by: str,
    ) -> Self:
        """Take the mean of what a model should have answered for the training rows.

        Small groups are drawn to the mean of all rows, as if each had `PRIOR_ROWS` more of them
        (additive smoothing).

        Args:
            contract: The schema.
            categorical: Shape (rows, categorical columns).
            target: The label; of a class, 1 where a row is of it and 0 elsewhere. Shape
                (rows, *width).
            group_by: A categorical feature, or "" for one prediction for all rows.
        """
        otherwise = target.mean(axis=0)
        if not group_by:
            return cls(group_by="", value={}, otherwise=otherwise.tolist())
        values, group = np.unique(
            categorical[:, contract.categorical.index(group_by)].astype(str), return_inverse=True
        )
        total = np.zeros((len(values), *target.shape[1:]))
        np.add.at(total, group, target)
        rows = np.bincount(group).reshape(-1, *(1 for _ in target.shape[1:]))
        mean = (total + PRIOR_ROWS * otherwise) / (rows + PRIOR_ROWS)
        named = dict(zip(values.tolist(), mean.tolist(), strict=True))
        return cls(group_by=group_by, value=named, otherwise=otherwise.tolist())

    def predict(self, contract: Contract, rows: Rows) -> list[Prediction]:
        """Return a prediction per row."""
        if not self.group_by:
            return [self.otherwise] * len(rows)
        column = contract.categorical.index(self.group_by)
        if isinstance(rows, Table):
            groups = rows.categorical[:, column].tolist()
        else:
            groups = [row[len(contract.numeric) + column] or "" for row in rows]
        return [self.value.get(group, self.otherwise) for group in groups]
