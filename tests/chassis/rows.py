"""Rows for tests, made from the schema: valid ones, and those that are wrong in one value."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from chassis.flights import CONTRACT
from ml_chassis.contract import Column, Predictions
from ml_chassis.loading import payloads
from ml_chassis.testing import WrongValue, wrong_values
from ml_chassis.training.estimator import Dataset

CATEGORICAL = CONTRACT.categorical
CLASSES = CONTRACT.classes
FEATURES = CONTRACT.features
NUMERIC = CONTRACT.numeric
OUTPUT = CONTRACT.output
TASK = CONTRACT.task
WIDTH = CONTRACT.width
example_row = CONTRACT.example_row

COLUMNS = {column.name: column for column in FEATURES}
ROW = example_row()
VALID = payloads.rows(CONTRACT, 100)
"""Valid rows in which every column has all kinds of values."""


def _first(*types: str, **wanted: Any) -> str:
    """Return the name of the first feature of these types, or nothing."""
    found = (
        column.name
        for column in FEATURES
        if column.type in types and all(getattr(column, key) == wanted[key] for key in wanted)
    )
    return next(found, "")


FIRST = FEATURES[0].name
NUMBER = _first("integer", "number")
WHOLE = _first("integer")
TEXT = _first("string")
REQUIRED = _first("integer", "number", "string", nullable=False)
OPTIONAL = _first("integer", "number", nullable=True)
"""Names of features; "" where the schema has none of the kind."""


def needs(*names: str) -> pytest.MarkDecorator:
    """Skip a test where the schema has no such feature."""
    return pytest.mark.skipif(not all(names), reason="the schema has no such feature")


def other_value(column: Column) -> Any:
    """Return another valid value than that of the example; the same where it is the only one."""
    values = (row[column.name] for row in VALID)
    return next((each for each in values if each not in (None, column.example)), column.example)


OTHER = {column.name: other_value(column) for column in FEATURES}
"""A valid row of which no value is that of the example, where that can be."""
if OPTIONAL:
    OTHER[OPTIONAL] = None
ROWS = [ROW, OTHER]


class Wrong(WrongValue):
    """A value that is refused."""

    __slots__ = ()

    @property
    def row(self) -> dict[str, Any]:
        """Return the example with it."""
        return {**ROW, self.field: self.value}

    @property
    def of_its_type(self) -> bool:
        """Whether it is a text in a column of texts, or a number in one of numbers."""
        kind = COLUMNS[self.field].type
        if kind == "string":
            return isinstance(self.value, str)
        return kind in {"integer", "number"} and type(self.value) in {int, float}


def _of_each_kind() -> list[str]:
    kinds = {
        (column.type, column.nullable, bool(column.choices), bool(column.pattern)): column.name
        for column in reversed(FEATURES)
    }
    return list(kinds.values())


WRONG = [
    Wrong(*each)
    for name in _of_each_kind()
    for each in wrong_values(CONTRACT)
    if each.field == name
]
"""Wrong values for one column of each kind."""
BEYOND = next(
    (each for each in WRONG if type(each.value) is int and COLUMNS[each.field].type != "string"),
    WRONG[-1],
)
"""A number outside of its bounds, where there are numbers."""
SECRET = "SECRET" * 99
"""Refused in every column, and never repeated."""


def example_prediction(number: float = 0.5) -> Any:
    """Return what a model may answer for one row."""
    return [number] * WIDTH[0] if WIDTH else number


def flat(predictions: Any) -> list[float]:
    """Return predictions, with names of classes or without, as numbers."""
    listed = [list(each.values()) if isinstance(each, dict) else each for each in predictions]
    return [float(number) for number in np.asarray(listed, np.float64).ravel()]


def answers(rows: int, number: float = 0.5) -> Predictions:
    """Return what a model may answer for rows, shape (rows, *WIDTH)."""
    return np.full((rows, *WIDTH), number, np.float32)


def assert_possible(prediction: Any) -> None:
    """Make sure that a prediction for one row is what the label allows."""
    numbers = np.array(flat([prediction]))
    assert np.isfinite(numbers).all()
    if OUTPUT == "probability":
        assert ((numbers >= 0) & (numbers <= 1)).all()
    if CLASSES:
        assert prediction.keys() == set(CLASSES)
        assert numbers.sum() == pytest.approx(1, abs=1e-5)


def small_dataset(rows: int = 400) -> Dataset:
    """Return random rows in which the first feature decides, an hour apart."""
    random = np.random.default_rng(0)
    numeric = random.normal(size=(rows, len(NUMERIC))).astype(np.float32)
    categorical = random.choice(["a", "b"], size=(rows, len(CATEGORICAL))).astype(object)
    decides = numeric[:, 0] if NUMERIC else (categorical[:, 0] == "a") - 0.5
    time = np.datetime64("2013-01-01", "us") + np.arange(rows) * np.timedelta64(1, "h")
    return Dataset(CONTRACT, numeric, categorical, label_of(decides), time)


def label_of(decides: Any) -> Any:
    """Return labels that numbers around 0 decide."""
    if TASK == "regression":
        return decides.astype(float)
    if TASK == "binary":
        return decides > 0
    return np.where(decides > 0, np.arange(len(decides)) % (len(CLASSES) - 1) + 1, 0)


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
    odd = [None, "", "ab", "ABC", "ABC\n", "ÄÖ", "x" * 99]
    known = [column.example, *(column.choices or ()), *odd]
    return st.sampled_from(known) | st.text(max_size=4)


any_rows = st.fixed_dictionaries(
    {},
    optional={
        column.name: texts(column) if column.kind == "categorical" else numbers(column)
        for column in FEATURES
    },
).map(lambda changes: {**ROW, **changes})
"""Rows with values of all kinds, many of them at the bounds; NaN for a missing number."""


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
