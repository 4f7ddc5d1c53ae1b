"""Rows with values of all kinds, many of them at the bounds of their column."""

import math
from typing import Any

from hypothesis import strategies as st

from model_service.contract import FEATURES, Column, example_row

COLUMNS = {column.name: column for column in FEATURES}


def numbers(column: Column) -> st.SearchStrategy[float]:
    """Numbers of any size."""
    bounds = [column.minimum, column.maximum, column.above, column.below]
    edges = [bound for bound in bounds if bound is not None]
    near = [math.nextafter(edge, towards) for edge in edges for towards in (-math.inf, math.inf)]
    steps = [edge + step for edge in edges for step in (-1, -0.5, 0.5, 1)]
    special = [math.nan, math.inf, -math.inf, -0.0, 1e300, 2.0**53]
    return st.sampled_from([column.example, *edges, *near, *steps, *special]) | st.floats()


def texts(column: Column) -> st.SearchStrategy[str | None]:
    """Texts, and none."""
    known = [
        column.example,
        *(column.choices or ()),
        None,
        "",
        "ua",
        "JFK",
        "JFK\n",
        "ÄÖ",
        "x" * 99,
    ]
    return st.sampled_from([column.example, *known]) | st.text(max_size=4)


rows = st.fixed_dictionaries(
    {},
    optional={
        column.name: texts(column) if column.kind == "categorical" else numbers(column)
        for column in FEATURES
    },
).map(lambda changes: {**example_row(), **changes})
"""Rows with NaN for a missing number."""


def in_json(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as a client would write it in JSON."""

    def value(name: str) -> Any:
        number = row[name]
        if not isinstance(number, float):
            return number
        if math.isnan(number):
            return None
        whole = COLUMNS[name].type == "integer" and number.is_integer()
        return int(number) if whole else number

    return {name: value(name) for name in row}
