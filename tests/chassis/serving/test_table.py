"""Columns are judged as JSON is, and every valid value arrives in its place."""

import json
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.flights import CONTRACT, DECODER, TABLES
from chassis.rows import (
    COLUMNS,
    FIRST,
    NUMBER,
    OPTIONAL,
    REQUIRED,
    ROW,
    ROWS,
    TEXT,
    WRONG,
    Wrong,
    any_rows,
    in_json,
    needs,
)
from ml_chassis.contract import Table
from ml_chassis.serving.messages import RefusedError
from ml_chassis.serving.table import Columns

CATEGORICAL = CONTRACT.categorical
FEATURES = CONTRACT.features
NUMERIC = CONTRACT.numeric
to_arrays = CONTRACT.to_arrays
to_row = CONTRACT.to_row


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


@settings(max_examples=500)
@given(st.lists(any_rows, min_size=1, max_size=3), st.sampled_from([np.float32, np.float64]))
def test_columns_and_json_come_to_the_same_verdict(sent: list[dict[str, Any]], dtype: Any) -> None:
    if dtype is np.float32:
        sent = [single(row) for row in sent]
    body = json.dumps({"rows": [in_json(row) for row in sent]}).encode()
    try:
        expected = to_arrays(DECODER.decode(body, max_rows=10))
    except RefusedError as refused:
        with pytest.raises(RefusedError) as error:
            TABLES.check(columns_of(sent, dtype), max_rows=10)
        first = min(problem.row or 0 for problem in refused.refusal.problems)
        assert {row for row, _, _ in refusal(error.value)} == {first}
        assert {field for _, field, _ in refusal(error.value)} == {
            problem.field for problem in refused.refusal.problems
        }
    else:
        table = TABLES.check(columns_of(sent, dtype), max_rows=10)
        np.testing.assert_array_equal(table.numeric, expected[0])
        np.testing.assert_array_equal(table.categorical, expected[1])


def test_values_keep_their_place() -> None:
    table = TABLES.check(columns_of(ROWS), 10)

    assert isinstance(table, Table)
    expected = to_arrays([to_row(row) for row in ROWS])
    np.testing.assert_array_equal(table.numeric, expected[0])
    np.testing.assert_array_equal(table.categorical, expected[1])


@needs(OPTIONAL)
def test_a_column_that_may_be_missing_may_be_left_out() -> None:
    columns = columns_of([ROW])
    del columns[OPTIONAL]

    assert np.isnan(TABLES.check(columns, 10).numeric[0, NUMERIC.index(OPTIONAL)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bound_is_valid_in_single_precision_too(dtype: Any) -> None:
    edges = [{**ROW, name: bound} for name, bound in bounds()]

    assert len(TABLES.check(columns_of(edges, dtype), 1_000)) == len(edges)


def bounds() -> list[tuple[str, float]]:
    found = [
        (column.name, bound) for column in FEATURES for bound in (column.minimum, column.maximum)
    ]
    return [(name, bound) for name, bound in found if bound is not None]


def changed(name: str, values: Any) -> Columns:
    return {**columns_of([ROW, ROW]), name: values}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda each: str(each[:2]))
def test_a_bad_value_is_refused_by_row_and_field(wrong: Wrong) -> None:
    kind = type(wrong.value)
    if COLUMNS[wrong.field].kind == "numeric" and kind not in (int, float):
        pytest.skip("in a column of numbers there is no such value")

    with pytest.raises(RefusedError) as error:
        TABLES.check(columns_of([ROW, wrong.row]), max_rows=10)

    assert refusal(error.value) == [(1, wrong.field, ANY)]


@pytest.mark.parametrize(
    ("columns", "row", "field", "said"),
    [
        pytest.param(
            changed(REQUIRED, [ROW.get(REQUIRED), None]),
            1,
            REQUIRED,
            "valid string",
            marks=needs(TEXT if REQUIRED == TEXT else ""),
        ),
        pytest.param(
            changed(NUMBER, np.array([True, False])), None, NUMBER, "of type", marks=needs(NUMBER)
        ),
        pytest.param(changed(NUMBER, ["1", "2"]), None, NUMBER, "of type", marks=needs(NUMBER)),
        pytest.param(
            changed(NUMBER, np.array(["1", "2"])), None, NUMBER, "of type", marks=needs(NUMBER)
        ),
        pytest.param(
            changed(TEXT, np.array([1.0, 2.0])), None, TEXT, "should be text", marks=needs(TEXT)
        ),
        (changed(FIRST, columns_of([ROW])[FIRST]), None, FIRST, "2 values"),
        (changed("invented", np.array([1.0, 2.0])), None, "invented", "no such feature"),
        pytest.param({}, None, REQUIRED, "required", marks=needs(REQUIRED)),
        (columns_of([ROW] * 11), None, None, "1 to 10 rows"),
        ({name: values[:0] for name, values in columns_of([ROW]).items()}, None, None, "not 0"),
    ],
    ids=str,
)
def test_bad_columns_are_refused_by_row_and_field(
    columns: Columns, row: int | None, field: str | None, said: str
) -> None:
    with pytest.raises(RefusedError) as error:
        TABLES.check(columns, max_rows=10)

    problems = error.value.refusal.problems
    assert (row, field) in [(each.row, each.field) for each in problems]
    assert any(said in each.message for each in problems)
