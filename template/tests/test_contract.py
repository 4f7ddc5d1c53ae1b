"""Everything that derives from the schema."""

from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel, Field, field_validator

from model_service.contract import (
    CATEGORICAL,
    FEATURES,
    LABEL,
    NULLABLE_TEXT,
    NUMERIC,
    Column,
    columns,
    example_row,
    task_of,
    to_arrays,
    to_row,
)
from model_service.schema import Features


class Small(BaseModel):
    """One field of each kind."""

    size: Annotated[float, Field(gt=0, le=5, description="How big.", examples=[2.5])]
    colour: Annotated[Literal["red", "blue"] | None, Field(examples=["red"])] = None
    used: bool


def test_columns_hold_what_the_schema_declares() -> None:
    size, colour, used = columns(Small)

    assert size == Column("size", "numeric", "number", "How big.", 2.5, above=0, maximum=5)
    assert colour.kind == "categorical"
    assert colour.nullable
    assert colour.choices == ("red", "blue")
    assert (used.kind, used.type) == ("numeric", "boolean")


@pytest.mark.parametrize("annotation", [int, Annotated[float, Field(ge=0)]])
def test_a_number_without_bounds_is_refused(annotation: Any) -> None:
    model = type("Odd", (BaseModel,), {"__annotations__": {"odd": annotation}})

    with pytest.raises(TypeError, match="odd: give a lower and an upper bound"):
        columns(model)


@pytest.mark.parametrize(
    ("column", "task"),
    [
        (Column("it", "numeric", "boolean", "", True), "binary"),
        (Column("it", "numeric", "number", "", 1.5), "regression"),
        (Column("it", "numeric", "integer", "", 1), "regression"),
        (Column("it", "categorical", "string", "", "a", choices=("a", "b")), "multiclass"),
    ],
)
def test_the_label_decides_what_kind_of_model_answers(column: Column, task: str) -> None:
    assert task_of(column) == task


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (Column("it", "categorical", "string", "", "a", pattern="^a$"), "it: declare the classes"),
        (Column("it", "categorical", "string", "", "a", choices=("a",)), "it: declare the classes"),
        (Column("it", "numeric", "boolean", "", True, nullable=True), "it: .* take None away"),
    ],
)
def test_a_label_that_cannot_be_predicted_is_refused(column: Column, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        task_of(column)


def test_text_without_an_end_is_refused() -> None:
    model = type("Odd", (BaseModel,), {"__annotations__": {"odd": str}})

    with pytest.raises(TypeError, match="odd: give choices, a pattern or a max_length"):
        columns(model)


@pytest.mark.parametrize("annotation", [list[int], dict[str, int], int | str])
def test_a_field_that_is_no_number_or_text_is_refused(annotation: type) -> None:
    model = type("Odd", (BaseModel,), {"__annotations__": {"odd": annotation}})

    with pytest.raises(TypeError, match="odd"):
        columns(model)


@pytest.mark.parametrize(
    ("annotation", "keyword"),
    [
        (Annotated[int, Field(multiple_of=2)], "multipleOf"),
        (Annotated[str, Field(min_length=2)], "minLength"),
    ],
)
def test_a_condition_that_training_cannot_check_is_refused(annotation: Any, keyword: str) -> None:
    model = type("Odd", (BaseModel,), {"__annotations__": {"odd": annotation}})

    with pytest.raises(TypeError, match=f"odd: training cannot check {keyword}"):
        columns(model)


def test_validators_are_refused() -> None:
    class Validated(Small):
        @field_validator("size")
        @classmethod
        def check(cls, value: float) -> float:
            return value

    with pytest.raises(TypeError, match="not validators"):
        columns(Validated)


def test_the_label_is_no_feature() -> None:
    assert LABEL not in Features.model_fields
    assert {*NUMERIC, *CATEGORICAL} == set(Features.model_fields)


def test_the_example_row_is_valid() -> None:
    Features.model_validate(example_row())


def test_every_feature_is_described() -> None:
    assert [column.name for column in FEATURES if not column.description] == []


def test_missing_values_become_nan_and_empty_text() -> None:
    present = {name: "x" for name in CATEGORICAL if not NULLABLE_TEXT}
    numeric, categorical = to_arrays([to_row(present)])

    assert numeric.shape == (1, len(NUMERIC))
    assert numeric.dtype == np.float32
    assert np.isnan(numeric).all()
    assert categorical.shape == (1, len(CATEGORICAL))
    assert set(categorical.ravel()) <= {"", "x"}


def test_values_keep_their_column() -> None:
    row = example_row()
    numeric, categorical = to_arrays([to_row(row)])

    assert dict(zip(NUMERIC, numeric[0].tolist(), strict=True)) == pytest.approx(
        {name: row[name] for name in NUMERIC}
    )
    assert dict(zip(CATEGORICAL, categorical[0], strict=True)) == {
        name: row[name] for name in CATEGORICAL
    }


def test_no_rows_give_empty_arrays() -> None:
    numeric, categorical = to_arrays([])

    assert numeric.shape == (0, len(NUMERIC))
    assert categorical.shape == (0, len(CATEGORICAL))
