"""Everything that derives from the schema."""

from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel, Field, field_validator

from chassis.flights import CONTRACT
from ml_chassis.contract import Column, Contract, columns, task_of
from model_service.schema import Features

CATEGORICAL = CONTRACT.categorical
FEATURES = CONTRACT.features
LABEL = CONTRACT.label
NUMERIC = CONTRACT.numeric
example_row = CONTRACT.example_row
to_arrays = CONTRACT.to_arrays
to_row = CONTRACT.to_row


class Small(BaseModel):
    """One field of each kind."""

    size: Annotated[float, Field(gt=0, le=5, description="How big.", examples=[2.5])]
    colour: Annotated[Literal["red", "blue"] | None, Field(examples=["red"])] = None
    used: bool


class Sold(Small):
    """Its label is true or false."""

    sold: bool


class Graded(Small):
    """Its label is one of three classes."""

    grade: Literal["low", "middle", "high"]


class Priced(Small):
    """Its label is a number."""

    price: Annotated[float, Field(ge=0, le=100)]


CONTRACTS = {schema.__name__: Contract(Small, schema) for schema in (Sold, Graded, Priced)}
"""Several services in one process, with a label of each kind."""


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


@pytest.mark.parametrize(
    ("name", "label", "task", "quality"),
    [
        ("Sold", "sold", "binary", "auc"),
        ("Graded", "grade", "multiclass", "auc"),
        ("Priced", "price", "regression", "r2"),
    ],
)
def test_a_contract_says_how_a_model_of_its_label_is_judged(
    name: str, label: str, task: str, quality: str
) -> None:
    contract = CONTRACTS[name]

    assert (contract.label, contract.task, contract.quality) == (label, task, quality)


@pytest.mark.parametrize(
    ("name", "width", "output", "prediction_columns"),
    [
        ("Sold", (), "probability", ["prediction"]),
        (
            "Graded",
            (3,),
            "probability",
            ["prediction of low", "prediction of middle", "prediction of high"],
        ),
        ("Priced", (), "value", ["prediction"]),
    ],
)
def test_a_contract_says_what_a_prediction_looks_like(
    name: str, width: tuple[int, ...], output: str, prediction_columns: list[str]
) -> None:
    contract = CONTRACTS[name]

    assert (contract.width, contract.output) == (width, output)
    assert contract.prediction_columns == prediction_columns
    assert contract.classes == (("low", "middle", "high") if width else ())


def test_the_label_changes_the_fingerprint_and_not_the_inputs() -> None:
    row = {"size": 2.5, "colour": None, "used": True}

    for contract in CONTRACTS.values():
        numeric, categorical = contract.to_arrays([contract.to_row(row)])
        assert (contract.numeric, contract.categorical) == (("size", "used"), ("colour",))
        assert (numeric.tolist(), categorical.tolist()) == ([[2.5, 1.0]], [[""]])
    assert len({contract.fingerprint for contract in CONTRACTS.values()}) == len(CONTRACTS)


def test_descriptions_and_examples_do_not_change_the_fingerprint() -> None:
    class Told(Priced):
        price: Annotated[float, Field(ge=0, le=100, description="In euros.", examples=[5])]

    class Wider(Priced):
        price: Annotated[float, Field(ge=0, le=101)]

    known = CONTRACTS["Priced"].fingerprint
    assert Contract(Small, Told).fingerprint == known
    assert Contract(Small, Wider).fingerprint != known


def test_a_schema_without_exactly_one_label_is_refused() -> None:
    class Both(Sold, Priced):
        pass

    for labelled in (Small, Both):
        with pytest.raises(TypeError, match=f"{labelled.__name__}: add one field, the label"):
            Contract(Small, labelled)


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


def test_an_example_that_is_not_valid_is_named() -> None:
    class Odd(BaseModel):
        size: Annotated[int, Field(ge=0, le=9, examples=[10])]

    class LabelledOdd(Odd):
        sold: bool

    with pytest.raises(TypeError, match="size: its example: Input should be less than or equal"):
        Contract(Odd, LabelledOdd)


def test_every_feature_is_described() -> None:
    assert [column.name for column in FEATURES if not column.description] == []


def test_missing_values_become_nan_and_empty_text() -> None:
    nullable = any(column.nullable for column in FEATURES if column.kind == "categorical")
    present = {name: "x" for name in CATEGORICAL if not nullable}
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
