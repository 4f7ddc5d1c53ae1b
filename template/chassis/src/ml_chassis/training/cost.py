"""What a feature costs, beside what it brings: bytes in every request, values to keep apart."""

import json
from typing import Any, NamedTuple

import numpy as np

from ..contract import Column
from .estimator import Dataset


class Cost(NamedTuple):
    """Of one feature, on some rows."""

    request_bytes: float
    """Mean size of its name and value in JSON, with what stands around them."""
    values: int
    """How many different ones there are."""
    missing: float
    """Share of the rows without a value."""


def cost(rows: Dataset, feature: str) -> Cost:
    """Return what a feature costs on these rows."""
    contract = rows.contract
    column = contract.by_name[feature]
    if column.kind == "numeric":
        found = rows.numeric[:, contract.numeric.index(feature)]
    else:
        found = rows.categorical[:, contract.categorical.index(feature)].astype(str)
    distinct, counts = np.unique(found, return_counts=True)
    sent = [_sent(column, value) for value in distinct.tolist()]
    share = counts / counts.sum()
    missing = np.array([value is None for value in sent])
    sizes = [len(json.dumps({feature: value}).encode()) for value in sent]
    return Cost(
        request_bytes=float(share @ sizes),
        values=int((~missing).sum()),
        missing=float(share[missing].sum()),
    )


def _sent(column: Column, value: Any) -> Any:
    """Return a value as a client writes it; text that is missing is empty here."""
    if column.kind == "categorical":
        return value or None
    if np.isnan(value):
        return None
    if column.type == "boolean":
        return bool(value)
    if column.type == "integer":
        return int(value)
    return float(np.format_float_positional(np.float32(value)))
