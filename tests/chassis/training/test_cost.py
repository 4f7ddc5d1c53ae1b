"""What a feature costs is what a client sends."""

import json
from dataclasses import replace

import numpy as np
import pytest

from chassis.flights import CONTRACT
from chassis.rows import small_dataset
from ml_chassis.training.cost import cost
from ml_chassis.training.estimator import Dataset

CATEGORICAL = CONTRACT.categorical
FEATURES = CONTRACT.features
NUMERIC = CONTRACT.numeric

NUMBERS = [column.name for column in FEATURES if column.type == "number"]


@pytest.fixture
def rows() -> Dataset:
    return small_dataset()


def test_bytes_are_those_of_the_values_in_json(rows: Dataset) -> None:
    if not NUMBERS:
        pytest.skip("the schema has none")
    name = NUMBERS[0]
    rows.numeric[:] = 0.1  # which float32 does not hold exactly
    rows.numeric[0] = np.nan

    found = cost(rows, name)

    there, away = (len(json.dumps({name: value})) for value in (0.1, None))
    assert found.request_bytes == pytest.approx((399 * there + away) / 400)
    assert (found.values, found.missing) == (1, 1 / 400)


def test_a_feature_of_text_counts_its_values(rows: Dataset) -> None:
    if not CATEGORICAL:
        pytest.skip("the schema has none")
    rows.categorical[:4, 0] = ["", "é", "a", "b"]

    found = cost(rows, CATEGORICAL[0])

    assert (found.values, found.missing) == (3, 1 / 400)


def test_an_integer_has_no_fraction_and_a_boolean_is_a_word(rows: Dataset) -> None:
    whole = [column.name for column in FEATURES if column.type in {"integer", "boolean"}]
    ones = replace(rows, numeric=np.ones_like(rows.numeric))

    sizes = {name: cost(ones, name).request_bytes for name in whole}

    written = {column.name: True if column.type == "boolean" else 1 for column in FEATURES}
    assert sizes == {name: len(json.dumps({name: written[name]})) for name in whole}
    assert set(whole) <= set(NUMERIC)
