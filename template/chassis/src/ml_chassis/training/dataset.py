"""Clean rows to the arrays that a model takes."""

import hashlib

import polars as pl

from ..contract import Contract, Labels
from ..project import Project
from .estimator import Dataset


def to_dataset(project: Project, frame: pl.DataFrame) -> Dataset:
    """Return the rows of a frame as arrays, in order."""
    contract = project.contract
    rows = [contract.to_row(row) for row in frame.iter_rows(named=True)]
    numeric, categorical = contract.to_arrays(rows)
    time = frame[project.time].dt.replace_time_zone(None).to_numpy() if project.time else None
    return Dataset(contract, numeric, categorical, _label(contract, frame[contract.label]), time)


def _label(contract: Contract, values: pl.Series) -> Labels:
    classes = contract.classes
    if contract.task == "multiclass":
        values = values.replace_strict(classes, range(len(classes)), return_dtype=pl.Int64)
    kind = {"binary": bool, "multiclass": int, "regression": float}[contract.task]
    return values.to_numpy().astype(kind)


def fingerprint(frame: pl.DataFrame) -> str:
    """Return what is equal for equal rows, on every machine."""
    return hashlib.sha256(frame.write_csv().encode()).hexdigest()
