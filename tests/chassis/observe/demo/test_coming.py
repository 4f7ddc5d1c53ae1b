"""Rows come again: later or under new keys, and as many of them changed as a training must see."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from chassis.flights import PROJECT
from chassis.observe.demo.shop import ORDERS, RAW, ROWS, SHOP
from ml_chassis.data.tables import RawTable
from ml_chassis.errors import UserError
from ml_chassis.observe.demo.coming import MOST, Amount, Change, amount, coming, some, step
from ml_chassis.project import Project
from ml_chassis.training.config import RetrainingConfig, TrainingConfig

CITY = Change("orders", "city", "Kiel", 0.4)
CARRIER = Change("flights", "carrier", "OO", 0.4)
ALL = Amount(1, 1)
BEGIN = datetime(2013, 1, 1, 5, tzinfo=UTC)
DAYS = 100


def of(table: RawTable) -> Project:
    """Return the shop with another table of orders."""
    project = Project("shop", SHOP.parts)
    project.__dict__["tables"] = (table,)
    return project


def flights() -> dict[str, pl.DataFrame]:
    """Return a flight on each of some days, and the weather, of which the first is a day before."""
    times = [BEGIN + timedelta(days=at) for at in range(DAYS)]
    places = {"carrier": "UA", "flight": 1, "origin": "EWR"}
    flown = pl.DataFrame({"time_hour": times}).with_columns(
        **{k: pl.lit(v) for k, v in places.items()}
    )
    weather = pl.DataFrame({"time_hour": [BEGIN - timedelta(days=1), *times], "origin": "EWR"})
    return {"flights": flown, "weather": weather, "planes": pl.DataFrame({"tailnum": ["N1"]})}


def test_times_of_all_tables_move_alike_beyond_the_last_and_weekdays_stay() -> None:
    raw = flights()
    new = coming(PROJECT, raw, CARRIER, Amount(2, 0))

    assert new.keys() == {"flights", "weather"}
    moved = step(PROJECT, raw)
    assert moved == timedelta(days=364)
    for name, rows in new.items():
        before = raw[name]["time_hour"]
        times = pl.concat([before + moved, before + 2 * moved])
        assert rows["time_hour"].to_list() == times.to_list()
    assert new["weather"]["time_hour"].min() > raw["flights"]["time_hour"].max()  # type: ignore[operator]


def test_times_move_farther_where_there_are_more_years() -> None:
    raw = flights()
    longer = [*raw["weather"]["time_hour"], BEGIN + timedelta(days=364)]
    raw["weather"] = pl.DataFrame({"time_hour": longer, "origin": "EWR"})

    assert step(PROJECT, raw) == timedelta(days=2 * 364)


def test_a_key_without_a_time_is_made_new_and_what_only_is_looked_up_stays() -> None:
    new = coming(SHOP, RAW, CITY, Amount(2, 0.5))

    assert new.keys() == {"orders"}
    assert new["orders"]["number"].to_list() == list(range(ROWS + 1, 3 * ROWS + 1))
    assert new["orders"]["customer"].to_list() == RAW["orders"]["customer"].to_list() * 2
    assert 80 < new["orders"]["city"].eq("Kiel").sum() < 120


def test_so_is_a_text() -> None:
    project = of(replace(ORDERS, key=("city", "customer")))
    new = coming(project, RAW, CITY, ALL)["orders"]

    assert not set(new["customer"]) & set(RAW["orders"]["customer"])
    assert len(new) == 10, "of rows that have one key now, one comes"


@pytest.mark.parametrize("key", ["city", "weight"])
def test_a_key_that_cannot_be_made_new_is_named(key: str) -> None:
    project = of(replace(ORDERS, key=(key,)))

    with pytest.raises(
        UserError, match=f"raw table orders cannot come under new keys: of {key} in"
    ):
        coming(project, RAW, CITY, ALL)


def test_without_a_key_rows_come_as_they_are() -> None:
    new = coming(of(replace(ORDERS, key=())), RAW, CITY, ALL)["orders"]

    assert new.drop("city").equals(RAW["orders"].drop("city"))
    assert set(new["city"]) == {"Kiel"}


def test_the_same_rows_are_chosen_each_time() -> None:
    chosen = some(1_000, 0.4)

    assert chosen == some(1_000, 0.4)
    assert 350 < sum(chosen) < 450


def config(project: Project, **retraining: Any) -> TrainingConfig:
    """Return a configuration of which the retraining alone matters."""
    made = TrainingConfig.model_construct(retraining=RetrainingConfig(**retraining))
    made._project = project
    return made


@pytest.mark.parametrize(
    ("retraining", "expected"),
    [
        ({"evaluation_days": 10, "minimum_new_rows": 1}, Amount(2, 0.4 * 290 / 190)),
        ({"evaluation_days": 92, "minimum_new_rows": 1}, Amount(3, 0.4 * 308 / 208)),
        ({"evaluation_days": 10, "minimum_new_rows": 201}, Amount(3, 0.4 * 390 / 290)),
        ({"evaluation_days": 1_000, "minimum_new_rows": 1}, Amount(12, 0.4 * 300 / 200)),
    ],
    ids=["days for evaluation", "nearly all days", "more rows than there are", "many days"],
)
def test_of_the_rows_before_the_days_of_evaluation_a_share_will_have_changed(
    retraining: dict[str, int], expected: Amount
) -> None:
    rows = flights()["flights"].rename({"time_hour": "scheduled_hour"})
    found = amount(config(PROJECT, **retraining), rows, timedelta(days=364), 0.4)

    assert found == pytest.approx(expected)
    assert found.share <= MOST


def test_without_a_time_both_halves_have_their_part_in_the_training() -> None:
    asked = config(SHOP, minimum_new_rows=1)

    assert amount(asked, RAW["orders"], timedelta(), 0.4) == pytest.approx(Amount(2, 0.6))
