"""What is answered while the model cannot: the share of positive labels seen in training."""

from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from .contract import CATEGORICAL, NUMERIC, Categorical, Rows, Table

PRIOR_ROWS = 20


class Fallback(BaseModel):
    """A share per value of one categorical feature, and one for all other rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group_by: str
    share: dict[str, float]
    otherwise: float

    @classmethod
    def fit(cls, categorical: Categorical, label: npt.NDArray[np.bool_], group_by: str) -> Self:
        """Count the positive labels of the training rows.

        Small groups are drawn to the share of all rows, as if each had `PRIOR_ROWS` more of them
        (additive smoothing).

        Args:
            categorical: Shape (rows, len(CATEGORICAL)).
            label: Shape (rows,).
            group_by: A categorical feature, or "" for one share over all rows.
        """
        otherwise = float(label.mean())
        if not group_by:
            return cls(group_by="", share={}, otherwise=otherwise)
        values, group = np.unique(
            categorical[:, CATEGORICAL.index(group_by)].astype(str), return_inverse=True
        )
        positive = np.bincount(group, weights=label) + PRIOR_ROWS * otherwise
        share = positive / (np.bincount(group) + PRIOR_ROWS)
        named = dict(zip(values.tolist(), share.tolist(), strict=True))
        return cls(group_by=group_by, share=named, otherwise=otherwise)

    def predict(self, rows: Rows) -> list[float]:
        """Return a probability per row."""
        if not self.group_by:
            return [self.otherwise] * len(rows)
        column = CATEGORICAL.index(self.group_by)
        if isinstance(rows, Table):
            groups = rows.categorical[:, column].tolist()
        else:
            groups = [row[len(NUMERIC) + column] or "" for row in rows]
        return [self.share.get(group, self.otherwise) for group in groups]
