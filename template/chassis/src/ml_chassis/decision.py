"""What a decision is worth, and from which probability on it pays to act.

Acting on a row whose label is true with probability p is worth p * TP + (1 - p) * FP, leaving it
p * FN + (1 - p) * TN. So it pays from the probability on at which the two are equal (Elkan, 2001,
"The foundations of cost-sensitive learning").
"""

from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator


class Decision(BaseModel):
    """[decision] in training.toml: the value of each outcome of one decision."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    action: str = Field(min_length=1)
    unit: str = Field(min_length=1)
    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.true_positive <= self.false_negative or self.true_negative <= self.false_positive:
            raise ValueError(
                "acting must be worth more where the label is true, and less where it is not"
            )
        return self

    @property
    def threshold(self) -> float:
        """The probability from which on it pays to act."""
        wrong = self.true_negative - self.false_positive
        right = self.true_positive - self.false_negative
        return wrong / (wrong + right)

    @property
    def outcomes(self) -> dict[str, float]:
        """What each outcome is worth."""
        names = ("true_positive", "false_positive", "false_negative", "true_negative")
        return {name: getattr(self, name) for name in names}

    def values(
        self, label: npt.NDArray[np.bool_], acts: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64]:
        """Return the value of each decision, shape (rows,).

        Args:
            label: What turned out to be true, shape (rows,).
            acts: What was decided, shape (rows,).
        """
        acted = np.where(label, self.true_positive, self.false_positive)
        left = np.where(label, self.false_negative, self.true_negative)
        return np.where(acts, acted, left)

    def value(self, label: npt.NDArray[np.bool_], acts: npt.NDArray[np.bool_]) -> float:
        """Return the mean of `values`."""
        return float(self.values(label, acts).mean())
