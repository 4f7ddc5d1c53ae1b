"""Features of flights hold only what was known at the decision."""

from typing import Any

import polars as pl
import pytest
from ml_chassis.project import Project

from model_service.features import build
from model_service.raw import TABLES

Tables = dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def tables() -> Tables:
    """Return the raw tables of the example."""
    return {
        table.name: pl.read_parquet(table.address, columns=list(table.columns)) for table in TABLES
    }


@pytest.fixture
def flight(tables: Tables) -> pl.DataFrame:
    """Return one flight."""
    return tables["flights"].head(1)


def built(tables: Tables, **changed: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with features, some tables changed."""
    frame: pl.DataFrame = build({**tables, **changed}).collect().to_native()
    return frame


def test_every_flight_becomes_one_row(project: Project, tables: Tables) -> None:
    rows = built(tables)

    assert rows.height == tables["flights"].height
    assert set(rows.columns) == {*project.keys, *(each.name for each in project.contract.labelled)}


def test_the_delay_is_in_no_feature(tables: Tables) -> None:
    later = tables["flights"].with_columns(pl.col("dep_delay") + 1_000)

    assert built(tables, flights=later).drop("late").equals(built(tables).drop("late"))


@pytest.mark.parametrize(("hours", "changes"), [(-4, False), (-3, True), (-2, False), (0, False)])
def test_the_weather_is_that_of_three_hours_before(
    tables: Tables, flight: pl.DataFrame, hours: int, changes: bool
) -> None:
    hour = flight["time_hour"].dt.offset_by(f"{hours}h").item()
    weather = tables["weather"]
    other = weather.with_columns(
        temp=pl.when(pl.col("time_hour") == hour).then(pl.lit(99.5)).otherwise(pl.col("temp"))
    )

    (before,) = built(tables, flights=flight)["temperature"]
    (after,) = built(tables, flights=flight, weather=other)["temperature"]

    assert before is not None
    assert (after == 99.5) is changes
    assert (after == before) is not changes


def test_what_is_unknown_is_missing(tables: Tables, flight: pl.DataFrame) -> None:
    weather, planes = tables["weather"].clear(), tables["planes"].clear()

    (row,) = built(tables, flights=flight, weather=weather, planes=planes).iter_rows(named=True)

    assert row["temperature"] is row["visibility"] is row["seats"] is row["plane_age"] is None
    assert row["distance"] > 0


@pytest.mark.parametrize(("delay", "late"), [(15, False), (16, True), (None, None), (-5, False)])
def test_late_is_more_than_15_minutes(
    tables: Tables, flight: pl.DataFrame, delay: int | None, late: Any
) -> None:
    delayed = flight.with_columns(dep_delay=pl.lit(delay, pl.Int64))

    assert built(tables, flights=delayed)["late"].to_list() == [late]
