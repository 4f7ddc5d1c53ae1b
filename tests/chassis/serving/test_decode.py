"""The fast reading of a request and Pydantic's come to the same verdict and the same rows."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chassis.flights import CONTRACT, DECODER
from chassis.rows import FIRST, NUMBER, OPTIONAL, OTHER, REQUIRED, ROW, TEXT, WHOLE, needs
from ml_chassis.contract import Column, Row
from ml_chassis.serving import messages
from model_service.schema import Features

CATEGORICAL = CONTRACT.categorical
FEATURES = CONTRACT.features
NUMERIC = CONTRACT.numeric
to_row = CONTRACT.to_row


def values(column: Column) -> st.SearchStrategy[Any]:
    """Values of any kind, many of them at the bounds of the column."""
    bounds = (column.minimum, column.maximum, column.above, column.below)
    edges = [
        bound + step for bound in bounds if bound is not None for step in (-1, -0.5, 0, 0.5, 1)
    ]
    whole = [int(edge) for edge in edges if edge == int(edge)]
    texts = [*(column.choices or ()), "", "ab", "ABC", "ABC\n", "ÄÖ", "\x00", "x" * 300]
    return st.one_of(
        st.just(column.example),
        st.sampled_from([None, True, False, [], {}, 10**30, -(10**30), 1e308, *edges, *whole]),
        st.sampled_from(texts),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=4),
    )


rows = st.fixed_dictionaries(
    {}, optional={column.name: values(column) for column in FEATURES}
).flatmap(lambda changes: st.sampled_from([{**ROW, **changes}, changes]))
bodies = st.one_of(
    st.fixed_dictionaries({"rows": st.lists(rows, max_size=3)}),
    st.fixed_dictionaries({}, optional={"rows": rows, "more": st.none()}),
).map(json.dumps)


def twice(name: str, value: str) -> str:
    """Return a request that says a feature twice."""
    return f'{{"rows": [{json.dumps(ROW)[:-1]}, "{name}": {value}}}]}}'


def by_pydantic(body: bytes) -> list[Row] | None:
    try:
        return [to_row(vars(row)) for row in DECODER.messages.parse(body, max_rows=1_000)]
    except messages.RefusedError:
        return None


@settings(max_examples=500)
@given(bodies)
@example(json.dumps({"rows": [ROW, ROW]}))
@example('{"rows": [], "rows": [' + json.dumps(ROW) + "]}")
@example(twice(WHOLE, "1"))
@example(twice(WHOLE, "99999"))
@example(twice(NUMBER, "1e999"))
@example(twice(NUMBER, "1E2"))
@example(twice(WHOLE, "1.0"))
@example(twice(WHOLE, "-0"))
@example(twice(NUMBER, "NaN"))
@example(twice(TEXT, r'"\ud83d\ude00"'))
@example(twice(TEXT, r'"\ud800"'))
def test_both_readings_agree(text: str) -> None:
    body = text.encode()
    fast, slow = DECODER._decode_fast(body), by_pydantic(body)

    if fast:
        assert fast == slow
    elif slow is not None:
        assert DECODER.decode(body, max_rows=1_000) == slow


@given(st.binary(max_size=200))
@example(b'{"rows": [{"name": "\xff"}]}')
@example(b'\xef\xbb\xbf{"rows": []}')
@example(b"[" * 5_000)
@example(b'{"rows":' * 5_000)
def test_bytes_that_are_no_request_are_refused(body: bytes) -> None:
    with pytest.raises(messages.RefusedError):
        DECODER.decode(body, max_rows=10)


def test_a_good_request_takes_the_fast_way() -> None:
    body = json.dumps({"rows": [ROW, {**ROW, FIRST: OTHER[FIRST]}]}).encode()

    assert len(DECODER._decode_fast(body)) == 2
    assert Features.model_validate(ROW)


@settings(max_examples=300)
@given(st.lists(rows, max_size=3))
def test_rows_of_other_protocols_come_to_the_same_verdict(sent: list[dict[str, Any]]) -> None:
    body = json.dumps({"rows": sent}).encode()
    try:
        expected = DECODER.decode(body, max_rows=10)
    except messages.RefusedError as refused:
        try:
            checked = DECODER.check_rows(sent, max_rows=10)
        except messages.RefusedError as error:
            assert error.refusal.problems[0].row == refused.refusal.problems[0].row
        else:
            assert_valid(checked)
    else:
        assert DECODER.check_rows(sent, max_rows=10) == expected


def assert_valid(rows: Sequence[Row]) -> None:
    """Make sure that rows which only `check_rows` takes hold nothing that /predict refuses."""
    names = (*NUMERIC, *CATEGORICAL)
    again = [dict(zip(names, row, strict=True)) for row in rows]
    assert DECODER.decode(json.dumps({"rows": again}).encode(), max_rows=10) == rows


@pytest.mark.parametrize(
    ("field", "as_in_a_frame", "value"),
    [
        pytest.param(WHOLE, float(ROW.get(WHOLE, 0)), ROW.get(WHOLE), marks=needs(WHOLE)),
        pytest.param(OPTIONAL, math.nan, None, marks=needs(OPTIONAL)),
        pytest.param(FIRST, [ROW[FIRST]], ROW[FIRST]),
    ],
)
def test_the_habits_of_data_frames_are_understood(
    field: str, as_in_a_frame: Any, value: Any
) -> None:
    assert DECODER.check_rows([ROW, {**ROW, field: as_in_a_frame}], 10) == [
        to_row(ROW),
        to_row({**ROW, field: value}),
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param(REQUIRED, math.nan, marks=needs(REQUIRED)),
        pytest.param(NUMBER, math.inf, marks=needs(NUMBER)),
        pytest.param(WHOLE, 1.5, marks=needs(WHOLE)),
        pytest.param(NUMBER, True, marks=needs(NUMBER)),
        pytest.param(NUMBER, "5", marks=needs(NUMBER)),
        (FIRST, [ROW[FIRST], ROW[FIRST]]),
        ("invented", 1),
    ],
)
def test_what_a_frame_cannot_mean_is_refused(field: str, value: Any) -> None:
    with pytest.raises(messages.RefusedError) as error:
        DECODER.check_rows([ROW, {**ROW, field: value}], 10)

    (problem,) = error.value.refusal.problems
    assert (problem.row, problem.field) == (1, field)


@pytest.mark.parametrize("rows", [[], [1], [None], [[ROW]], [ROW] * 11], ids=str)
def test_what_is_no_list_of_few_rows_is_refused(rows: list[Any]) -> None:
    with pytest.raises(messages.RefusedError):
        DECODER.check_rows(rows, max_rows=10)


def test_of_duplicate_keys_the_last_counts() -> None:
    name = FEATURES[0].name
    body = json.dumps({"rows": [ROW]})
    twice = body.replace('{"rows": [{', f'{{"rows": 0, "rows": [{{"{name}": [], ', 1).encode()

    # The quick reading looks at each value; the other one, which decides, at the last alone.
    assert DECODER.decode(twice, max_rows=1) == DECODER.decode(body.encode(), max_rows=1)
