"""Clean rows to the arrays that a model takes."""

import hashlib

import polars as pl

from ..contract import CLASSES, LABEL, TASK, Labels, to_arrays, to_row
from ..data.features import TIME
from .estimator import Dataset


def to_dataset(frame: pl.DataFrame) -> Dataset:
    """Return the rows of a frame as arrays, in order."""
    numeric, categorical = to_arrays([to_row(row) for row in frame.iter_rows(named=True)])
    time = frame[TIME].dt.replace_time_zone(None).to_numpy() if TIME else None
    return Dataset(numeric, categorical, _label(frame[LABEL]), time)


def _label(values: pl.Series) -> Labels:
    if TASK == "multiclass":
        values = values.replace_strict(CLASSES, range(len(CLASSES)), return_dtype=pl.Int64)
    return values.to_numpy().astype({"binary": bool, "multiclass": int, "regression": float}[TASK])


def fingerprint(frame: pl.DataFrame) -> str:
    """Return what is equal for equal rows, on every machine."""
    return hashlib.sha256(frame.write_csv().encode()).hexdigest()
