"""A row is valid in training exactly when the service would accept it."""

from typing import Any

import narwhals.stable.v2 as nw
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from chassis.flights import CONTRACT
from ml_chassis.contract import Column, columns
from ml_chassis.data import DataError
from ml_chassis.data.clean import REASON, Cleaned, clean
from model_service.schema import Features

example_row = CONTRACT.example_row

POLARS_TYPES = {
    "boolean": pl.Boolean,
    "integer": pl.Int64,
    "number": pl.Float64,
    "string": pl.String,
}


def cleaned(rows: list[dict[str, Any]], model: type[BaseModel] = Features) -> Cleaned:
    types = {column.name: POLARS_TYPES[column.type] for column in columns(model)}
    return clean(nw.from_native(pl.DataFrame(rows, types)).lazy(), columns(model))


def reasons(**changes: Any) -> list[str]:
    quarantined = cleaned([{**example_row(), **changes}]).quarantined
    return [str(reason) for reason in quarantined[REASON].to_list()]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"wind_speed": 1048.4}, "wind_speed: above 200"),
        ({"seats": 0}, "seats: below 1"),
        ({"distance": 0.0}, "distance: not above 0"),
        ({"distance": None}, "distance: missing"),
        ({"temperature": float("nan")}, "temperature: not finite"),
        ({"pressure": float("inf")}, "pressure: not finite"),
        ({"origin": "BOS"}, "origin: not one of EWR, JFK, LGA"),
        ({"carrier": "ua"}, "carrier: does not match ^[0-9A-Z]{2}$"),
        ({"carrier": None, "weekday": 8}, "carrier: missing; weekday: above 7"),
    ],
)
def test_a_bad_row_is_quarantined_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    assert reasons(**changes) == [reason]


@pytest.mark.parametrize("column", ["wind_gust", "seats"])
def test_a_value_that_may_be_missing_is_no_reason(column: str) -> None:
    assert reasons(**{column: None}) == []


def test_a_feature_that_is_not_built_is_named() -> None:
    frame = nw.from_native(pl.LazyFrame({"carrier": ["UA"]}))

    with pytest.raises(DataError, match="declares .*seats.*build it"):
        clean(frame, columns(Features))


def test_a_column_of_the_wrong_type_is_told() -> None:
    row = {column.name: [column.example] for column in columns(Features)}

    with pytest.raises(DataError, match="cannot be built"):
        clean(nw.from_native(pl.LazyFrame({**row, "distance": ["far"]})), columns(Features))


def test_fractions_for_an_integer_are_told() -> None:
    row = {column.name: [column.example] for column in columns(Features)}

    with pytest.raises(DataError, match="seats is Float64, not an integer"):
        clean(nw.from_native(pl.LazyFrame({**row, "seats": [149.5]})), columns(Features))


def test_no_row_is_lost() -> None:
    good, bad = example_row(), {**example_row(), "humidity": 101.0}

    halves = cleaned([good, bad, good])

    assert len(halves.valid) == 2
    assert halves.quarantined["humidity"].to_list() == [101.0]


def values(column: Column) -> st.SearchStrategy[Any]:
    """Return values of the right type, some of them impossible."""
    match column.type:
        case "boolean":
            value: st.SearchStrategy[Any] = st.booleans()
        case "integer":
            value = st.integers(-100, 1_000)
        case "number":
            value = st.floats(-20_000, 20_000) | st.sampled_from([float("nan"), float("inf")])
        case _:
            value = st.sampled_from(["UA", "EWR", "ua", "", "ABCD"])
    return st.none() | st.just(column.example) | value


@given(st.fixed_dictionaries({column.name: values(column) for column in columns(Features)}))
def test_training_and_serving_agree_on_every_row(row: dict[str, Any]) -> None:
    try:
        Features.model_validate(row)
        accepted = True
    except ValidationError:
        accepted = False

    assert len(cleaned([row]).valid) == accepted
