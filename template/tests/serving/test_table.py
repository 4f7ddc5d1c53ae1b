"""Columns are judged as JSON is, and every valid value arrives in its place."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_service.contract import (
    CATEGORICAL,
    FEATURES,
    NUMERIC,
    Table,
    example_row,
    to_arrays,
)
from model_service.serving.decode import decode
from model_service.serving.messages import RefusedError
from model_service.serving.table import Columns, check_columns
from tests.serving.rows import in_json, rows

ROW = example_row()


def columns_of(rows: list[dict[str, Any]], dtype: Any = np.float64) -> dict[str, Any]:
    """Return rows as columns; a missing number is NaN."""
    given = {name: [row[name] for row in rows] for name in rows[0]}
    return {
        name: values if name in CATEGORICAL else np.array(values, dtype)
        for name, values in given.items()
    }


def single(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the shortest decimals that stand for its numbers in single precision."""
    with np.errstate(over="ignore"):
        return {
            name: float(str(np.float32(value))) if name in NUMERIC else value
            for name, value in row.items()
        }


def refusal(error: RefusedError) -> list[tuple[int | None, str | None, str]]:
    return [(each.row, each.field, each.message) for each in error.refusal.problems]


@settings(max_examples=500, deadline=None)
@given(st.lists(rows, min_size=1, max_size=3), st.sampled_from([np.float32, np.float64]))
def test_columns_and_json_come_to_the_same_verdict(sent: list[dict[str, Any]], dtype: Any) -> None:
    if dtype is np.float32:
        sent = [single(row) for row in sent]
    body = json.dumps({"rows": [in_json(row) for row in sent]}).encode()
    try:
        expected = to_arrays(decode(body, max_rows=10))
    except RefusedError as refused:
        with pytest.raises(RefusedError) as error:
            check_columns(columns_of(sent, dtype), max_rows=10)
        first = min(problem.row or 0 for problem in refused.refusal.problems)
        assert {row for row, _, _ in refusal(error.value)} == {first}
        assert {field for _, field, _ in refusal(error.value)} == {
            problem.field for problem in refused.refusal.problems
        }
    else:
        table = check_columns(columns_of(sent, dtype), max_rows=10)
        np.testing.assert_array_equal(table.numeric, expected[0])
        np.testing.assert_array_equal(table.categorical, expected[1])


def test_values_keep_their_place() -> None:
    table = check_columns(columns_of([ROW, {**ROW, "origin": "LGA", "seats": math.nan}]), 10)

    assert isinstance(table, Table)
    assert len(table) == 2
    assert table.categorical[:, CATEGORICAL.index("origin")].tolist() == ["EWR", "LGA"]
    seats = table.numeric[:, NUMERIC.index("seats")]
    assert seats[0] == ROW["seats"]
    assert np.isnan(seats[1])


def test_a_column_that_may_be_missing_may_be_left_out() -> None:
    columns = columns_of([ROW])
    del columns["wind_gust"]

    assert np.isnan(check_columns(columns, 10).numeric[0, NUMERIC.index("wind_gust")])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bound_is_valid_in_single_precision_too(dtype: Any) -> None:
    edges = [{**ROW, name: bound} for name, bound in bounds()]

    assert len(check_columns(columns_of(edges, dtype), 1_000)) == len(edges)


def bounds() -> list[tuple[str, float]]:
    found = [
        (column.name, bound) for column in FEATURES for bound in (column.minimum, column.maximum)
    ]
    return [(name, bound) for name, bound in found if bound is not None]


def changed(**changes: Any) -> Columns:
    return {**columns_of([ROW, ROW]), **changes}


@pytest.mark.parametrize(
    ("columns", "row", "field", "said"),
    [
        (changed(distance=np.array([1.0, -1.0])), 1, "distance", "greater than 0"),
        (changed(distance=np.array([1.0, math.nan])), 1, "distance", "valid number"),
        (changed(weekday=np.array([1.0, 2.5])), 1, "weekday", "valid integer"),
        (changed(carrier=["UA", "ua"]), 1, "carrier", "pattern"),
        (changed(carrier=["UA", None]), 1, "carrier", "valid string"),
        (changed(origin=["BOS", "EWR"]), 0, "origin", "'EWR'"),
        (changed(weekday=np.array([True, False])), None, "weekday", "integer"),
        (changed(weekday=["1", "2"]), None, "weekday", "integer"),
        (changed(weekday=np.array(["1", "2"])), None, "weekday", "integer"),
        (changed(carrier=np.array([1.0, 2.0])), None, "carrier", "text"),
        (changed(carrier=["UA"]), None, "carrier", "2 values"),
        (changed(invented=np.array([1.0, 2.0])), None, "invented", "no such feature"),
        (columns_of([{"distance": 1.0}]), None, "carrier", "required"),
        ({}, None, "carrier", "required"),
        (columns_of([ROW] * 11), None, None, "1 to 10 rows"),
        ({name: values[:0] for name, values in columns_of([ROW]).items()}, None, None, "not 0"),
    ],
    ids=str,
)
def test_bad_columns_are_refused_by_row_and_field(
    columns: Columns, row: int | None, field: str | None, said: str
) -> None:
    with pytest.raises(RefusedError) as error:
        check_columns(columns, max_rows=10)

    problem = error.value.refusal.problems[0]
    assert (problem.row, problem.field) == (row, field)
    assert said in problem.message
