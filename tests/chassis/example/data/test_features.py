"""Features hold only what was known at the decision."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from chassis.flights import CONTRACT, PROJECT
from ml_chassis.testing import Trained
from model_service.features import build

FEATURES = CONTRACT.features
LABEL = CONTRACT.label

Tables = dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def tables(trained: Trained) -> Tables:
    return {table.name: trained.store.raw(table) for table in PROJECT.tables}


def built(tables: Tables) -> pl.DataFrame:
    frame: pl.DataFrame = build(tables).collect().to_native()
    return frame


def test_every_raw_row_becomes_one(tables: Tables) -> None:
    rows = built(tables)

    assert rows.height == tables["flights"].height
    assert set(rows.columns) == {*PROJECT.keys, LABEL, *(column.name for column in FEATURES)}


def test_the_order_of_the_raw_rows_does_not_matter(tables: Tables) -> None:
    shuffled = {
        name: table.sample(fraction=1, shuffle=True, seed=1) for name, table in tables.items()
    }

    assert built(shuffled).equals(built(tables))


def test_what_happened_later_changes_no_feature(tables: Tables) -> None:
    changed = tables["flights"].with_columns(pl.col("dep_delay") + 1_000)

    after = built({**tables, "flights": changed})

    assert after.drop(LABEL).equals(built(tables).drop(LABEL))


def test_weather_after_the_decision_changes_nothing(tables: Tables) -> None:
    flight = tables["flights"].head(1)
    # The record of an hour holds what was observed until that hour ends.
    decision = flight["time_hour"].dt.offset_by("-2h").item()
    ends = pl.col("time_hour").dt.offset_by("1h")
    known = {**tables, "flights": flight, "weather": tables["weather"].filter(ends <= decision)}

    assert built(known).equals(built({**tables, "flights": flight}))
    assert built(known)["temperature"].is_not_null().all()


@pytest.mark.parametrize(("delay", "late"), [(15, False), (16, True), (None, None), (-5, False)])
def test_late_is_more_than_15_minutes(tables: Tables, delay: int | None, late: Any) -> None:
    flight = tables["flights"].head(1).with_columns(dep_delay=pl.lit(delay, pl.Int64))

    assert built({**tables, "flights": flight})[LABEL].to_list() == [late]


def test_the_weekday_is_local(tables: Tables) -> None:
    # 2013-03-10 was a Sunday in New York when it was Monday, 01:00, in UTC.
    hour = datetime(2013, 3, 11, 1, tzinfo=UTC)
    flight = (
        tables["flights"]
        .head(1)
        .with_columns(
            month=pl.lit(3), day=pl.lit(10), time_hour=pl.lit(hour, pl.Datetime("us", "UTC"))
        )
    )

    assert built({**tables, "flights": flight})["weekday"].to_list() == [7]
