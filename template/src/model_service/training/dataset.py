"""Clean rows to the arrays that a model takes, split by time."""

import hashlib
from datetime import UTC, date, datetime

import numpy as np
import polars as pl

from ..contract import CLASSES, LABEL, TASK, Labels, to_arrays, to_row
from ..data.features import TIME
from ..errors import UserError
from .estimator import Dataset


class SplitError(UserError):
    """One side of the split holds no rows, or does not tell labels apart."""


def split_by_time(frame: pl.DataFrame, test_from: date) -> tuple[Dataset, Dataset]:
    """Return what happened before a day (UTC), for training, and the rest, for evaluation.

    Raises:
        SplitError: a side cannot be used.
    """
    start = datetime(test_from.year, test_from.month, test_from.day, tzinfo=UTC)
    sides = {
        f"before {test_from}": to_dataset(frame.filter(pl.col(TIME) < start)),
        f"from {test_from} on": to_dataset(frame.filter(pl.col(TIME) >= start)),
    }
    for name, side in sides.items():
        if len(np.unique(side.label)) < 2:
            raise SplitError(
                f"The {len(side)} rows {name} do not hold different values of {LABEL!r}: "
                "choose another test_from, or evaluation_days, in training.toml."
            )
    train, test = sides.values()
    seen = {CLASSES[index] for index in np.unique(train.label)} if CLASSES else set()
    if unseen := [name for name in CLASSES if name not in seen]:
        raise SplitError(
            f"Of the {len(train)} rows before {test_from} none has {LABEL} {', '.join(unseen)}: "
            "choose a later test_from in training.toml, or take the class out of schema.py."
        )
    return train, test


def to_dataset(frame: pl.DataFrame) -> Dataset:
    """Return the rows of a frame as arrays, in order."""
    numeric, categorical = to_arrays([to_row(row) for row in frame.iter_rows(named=True)])
    time = frame[TIME].dt.replace_time_zone(None).to_numpy()
    return Dataset(numeric, categorical, _label(frame[LABEL]), time)


def _label(values: pl.Series) -> Labels:
    if TASK == "multiclass":
        values = values.replace_strict(CLASSES, range(len(CLASSES)), return_dtype=pl.Int64)
    return values.to_numpy().astype({"binary": bool, "multiclass": int, "regression": float}[TASK])


def fingerprint(frame: pl.DataFrame) -> str:
    """Return what is equal for equal rows, on every machine."""
    return hashlib.sha256(frame.write_csv().encode()).hexdigest()
