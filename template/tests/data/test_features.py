"""Features hold only what was known at the decision."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from model_service.contract import FEATURES, LABEL
from model_service.data.extract import DataError, RawTables, extract
from model_service.data.features import KEYS, build
from model_service.training.train import RAW

AFTER_DEPARTURE = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]


@pytest.fixture(scope="module")
def tables() -> RawTables:
    return extract(RAW)


def built(flights: pl.DataFrame, planes: pl.DataFrame, weather: pl.DataFrame) -> pl.DataFrame:
    frame: pl.DataFrame = build(flights, planes, weather).collect().to_native()
    return frame


def test_every_flight_becomes_one_row(tables: RawTables) -> None:
    rows = built(tables.flights, tables.planes, tables.weather)

    assert rows.height == tables.flights.height
    assert set(rows.columns) == {*KEYS, LABEL, *(column.name for column in FEATURES)}


def test_the_order_of_the_raw_rows_does_not_matter(tables: RawTables) -> None:
    shuffled = (
        table.sample(fraction=1, shuffle=True, seed=1)
        for table in (tables.flights, tables.planes, tables.weather)
    )

    assert built(*shuffled).equals(built(tables.flights, tables.planes, tables.weather))


@pytest.mark.parametrize("column", AFTER_DEPARTURE)
def test_what_happened_later_changes_no_feature(tables: RawTables, column: str) -> None:
    changed = tables.flights.with_columns(pl.col(column) + 1_000)

    before = built(tables.flights, tables.planes, tables.weather)
    after = built(changed, tables.planes, tables.weather)

    assert after.drop(LABEL).equals(before.drop(LABEL))


def test_weather_after_the_decision_changes_nothing(tables: RawTables) -> None:
    flight = tables.flights.head(1)
    decision = flight["time_hour"].dt.offset_by("-2h").item()
    known = tables.weather.filter(pl.col("time_hour") <= decision)

    assert built(flight, tables.planes, known).equals(built(flight, tables.planes, tables.weather))
    assert built(flight, tables.planes, known)["temperature"].is_not_null().all()


@pytest.mark.parametrize(("delay", "late"), [(15, False), (16, True), (None, None), (-5, False)])
def test_late_is_more_than_15_minutes(tables: RawTables, delay: int | None, late: Any) -> None:
    flight = tables.flights.head(1).with_columns(dep_delay=pl.lit(delay, pl.Int64))

    assert built(flight, tables.planes, tables.weather)[LABEL].to_list() == [late]


def test_the_weekday_is_local(tables: RawTables) -> None:
    # 2013-03-10 was a Sunday in New York when it was Monday, 01:00, in UTC.
    hour = datetime(2013, 3, 11, 1, tzinfo=UTC)
    flight = tables.flights.head(1).with_columns(
        month=pl.lit(3), day=pl.lit(10), time_hour=pl.lit(hour, pl.Datetime("us", "UTC"))
    )

    assert built(flight, tables.planes, tables.weather)["weekday"].to_list() == [7]


def test_missing_tables_are_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(DataError, match=r"flights\.parquet"):
        extract(tmp_path_factory.mktemp("empty"))
