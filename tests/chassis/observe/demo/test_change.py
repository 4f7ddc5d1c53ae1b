"""What drifts is a column that becomes a feature, and a value that training hardly knew."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from chassis.observe.demo.shop import FEATURES, RAW, SHOP
from ml_chassis.errors import UserError
from ml_chassis.observe.demo.change import SHARE, find
from ml_chassis.observe.demo.coming import Change


class Model:
    """Predicts by a function of a row's texts and numbers, in the order of the schema."""

    def __init__(self, of_row: Callable[[list[str], list[float]], float]) -> None:
        """Take it."""
        self._of_row = of_row

    def predict(self, numeric: Any, categorical: Any) -> Any:
        """Return a number for each row."""
        rows = zip(categorical.tolist(), numeric.tolist(), strict=True)
        return np.array([self._of_row(*row) for row in rows])


def found(model: Model, *expected: str, rows: pl.DataFrame = FEATURES) -> Change:
    return find(SHOP, cast(Any, model), RAW, rows, expected)


def by_city_and_weight(texts: list[str], numbers: list[float]) -> float:
    return (texts[0] == "Kiel") + numbers[0]


def test_a_category_becomes_the_rarest_that_training_knew() -> None:
    """The segment matters less, but new customers would have none; the name is personal."""
    assert found(Model(by_city_and_weight)) == Change("orders", "city", "Kiel", SHARE)


def test_of_numbers_it_is_the_one_that_matters_least_and_it_becomes_high() -> None:
    assert found(Model(by_city_and_weight), "city") == Change("orders", "price", 98.0, SHARE)


def test_where_no_value_is_rare_nothing_can_drift() -> None:
    usual = FEATURES.with_columns(
        pl.lit("Rome").alias("city"), pl.lit(1.0).alias("weight"), pl.lit(1.0).alias("price")
    )
    with pytest.raises(UserError, match="Nothing can drift: no column of a raw table"):
        found(Model(by_city_and_weight), rows=usual)


def test_where_all_drift_is_expected_nothing_can_be_told() -> None:
    with pytest.raises(UserError, match="Nothing can drift"):
        found(Model(by_city_and_weight), "city", "weight", "price")
