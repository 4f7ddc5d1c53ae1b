"""How far features lie from where they lay in training: the population stability index."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy.stats import chi2

from ..contract import Categorical, Contract, Numeric
from ..monitoring.drift import ADDED_ROWS, CategoricalBins, NumericBins, Reference, Values
from ..slo import Drift

LEVEL = 0.999
LEAST = Drift().psi


class Shift(BaseModel):
    """One feature."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feature: str
    index: float
    limit: float
    grown: str
    """The bin whose share has grown most, and from what to what."""

    @property
    def drifted(self) -> bool:
        """Whether that is more than chance, and matters."""
        return self.index > self.limit


def shifts(
    contract: Contract,
    reference: Reference,
    rows: int,
    numeric: Numeric,
    categorical: Categorical,
    prediction: Values,
    least: float = LEAST,
) -> list[Shift]:
    """Compare new rows with those of training; the largest shift comes first.

    Args:
        contract: The schema.
        reference: The bins, and the share of the rows of training in each.
        rows: How many rows of training there were.
        numeric: Of the new rows, shape (rows, numeric columns).
        categorical: Of the new rows, shape (rows, categorical columns).
        prediction: Of the new rows, by the model of the reference, shape (rows, *width).
        least: What is less hardly matters, however certain it is.
    """
    counted = reference.count(contract, numeric, categorical, prediction)
    found = [
        compare(feature, bins, rows, counted[feature], least)
        for feature, bins in reference.bins.items()
    ]
    return sorted(found, key=lambda each: each.limit - each.index)


def compare(
    feature: str,
    bins: NumericBins | CategoricalBins,
    rows: int,
    counts: npt.NDArray[Any],
    least: float,
) -> Shift:
    """Compare the rows in each bin of a feature with the shares of `rows` of training."""
    new = float(counts.sum())
    before = (np.array(bins.share) * rows + ADDED_ROWS) / (rows + ADDED_ROWS * len(counts))
    now = (counts + ADDED_ROWS) / (new + ADDED_ROWS * len(counts))
    used = (counts > 0) | (np.array(bins.share) > 0)
    most = int(np.argmax(now - before))
    return Shift(
        feature=feature,
        index=float(((now - before) * np.log(now / before)).sum()),
        limit=max(least, chance(max(int(used.sum()) - 1, 1), rows, new)),
        grown=f"{bins.names[most]}: {before[most]:.1%} to {now[most]:.1%}",
    )


def chance(freedom: int, rows: int, new: float) -> float:
    """Return what the index exceeds by chance in one of a thousand comparisons.

    The index of two samples, over 1/rows + 1/new, is distributed as chi-squared (Yurdakul, 2018).
    """
    return float(chi2.ppf(LEVEL, freedom) * (1 / max(rows, 1) + 1 / max(new, 1)))
