"""The payloads of the load test are valid, and as varied as the schema allows."""

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from chassis.flights import CONTRACT, DECODER
from ml_chassis.contract import Column, Contract
from ml_chassis.loading.payloads import bodies, rows
from model_service.schema import Features

FEATURES = CONTRACT.features


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    """Return many rows of the example."""
    return rows(CONTRACT, 1_000)


class Odd(BaseModel):
    """Fields of kinds that the example has not."""

    model_config = ConfigDict(extra="forbid", strict=True)

    above: Annotated[float, Field(gt=0, lt=1, examples=[0.5])]
    whole: Annotated[int, Field(gt=0, lt=3, examples=[1])]
    used: Annotated[bool, Field(examples=[True])]
    colour: Annotated[Literal["red", "blue"] | None, Field(examples=["red"])]
    text: Annotated[str, Field(max_length=5, examples=["a"])]
    long: Annotated[str, Field(pattern="^a+$", max_length=3, examples=["a"])]
    letter: Annotated[str, Field(pattern=r"^\p{Lu}$", examples=["Ä"])]  # not for Python's `re`


class Labelled(Odd):
    """And a label."""

    label: Annotated[bool, Field(examples=[True])]


def test_every_row_is_valid(found: list[dict[str, Any]]) -> None:
    assert [Features.model_validate(row) for row in found]


def test_they_are_the_same_every_time(found: list[dict[str, Any]]) -> None:
    assert rows(CONTRACT, 1_000) == found


@pytest.mark.parametrize("column", FEATURES, ids=lambda column: column.name)
def test_a_column_takes_what_it_may(column: Column, found: list[dict[str, Any]]) -> None:
    values = {row[column.name] for row in found}

    assert (None in values) is column.nullable
    assert values >= set(column.choices or ())
    assert values >= {bound for bound in (column.minimum, column.maximum) if bound is not None}
    assert len(values) > 1


def test_other_schemas_get_valid_rows_too() -> None:
    odd = rows(Contract(Odd, Labelled), 500)

    assert [Odd.model_validate(row) for row in odd]
    assert {row["whole"] for row in odd} == {1, 2}
    assert {row["used"] for row in odd} == {True, False}
    assert {row["colour"] for row in odd} == {"red", "blue", None}
    assert {row["long"] for row in odd} == {"a", "aa", "aaa"}
    assert {row["letter"] for row in odd} == {"Ä"}
    assert len({row["text"] for row in odd}) > 50


@pytest.mark.parametrize("count", [1, 100])
def test_the_service_reads_each_body(count: int) -> None:
    made = bodies(CONTRACT, 3, count)

    assert [len(DECODER.decode(body, max_rows=100)) for body in made] == [count] * 3
    assert len({json.dumps(json.loads(body)) for body in made}) == 3
