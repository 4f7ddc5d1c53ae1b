"""YOURS: from raw tables to one row per flight with the features and the label.

Only what was known at the decision, two hours before the hour of the scheduled departure, may
become a feature: the weather observed by then, never the weather at departure; nothing about how
the flight went. A record of the weather sums up the hour that begins at its time, so the last one
that is whole by the decision began three hours before departure.
"""

from collections.abc import Mapping
from typing import Any

import narwhals.stable.v2 as nw
from narwhals.stable.v2.typing import IntoFrame

TIME: str | None = "scheduled_hour"
"""The column by which rows are split into training and evaluation; None: rows know no time."""

KEYS = ("scheduled_hour", "tail_number", "flight")
"""Columns that say which flight a row is, and when; they are no features."""

PERSONAL_KEYS: tuple[str, ...] = ()
"""Those of them whose values are personal, and so shown nowhere."""

LATE_MINUTES = 15

OBSERVATIONS = {
    "temp": "temperature",
    "dewp": "dew_point",
    "humid": "humidity",
    "wind_speed": "wind_speed",
    "wind_gust": "wind_gust",
    "precip": "precipitation",
    "pressure": "pressure",
    "visib": "visibility",
}


def build(tables: Mapping[str, IntoFrame]) -> nw.LazyFrame[Any]:
    """Join the raw tables into rows with the keys, the features and the label.

    Every flight becomes one row, in the order of time. What is unknown is null, the label of a
    flight that never left included. What happens after the time of a row must not change it:
    when raw rows come late, only the rows from their time on are built again.
    """
    return (
        nw.from_native(tables["flights"])
        .lazy()
        .with_columns(observed_hour=nw.col("time_hour").dt.offset_by("-3h"))
        .join(_observed(tables["weather"]), on=["origin", "observed_hour"], how="left")
        .join(_fleet(tables["planes"]), on="tailnum", how="left")
        .select(
            nw.col("time_hour").alias("scheduled_hour"),
            nw.col("tailnum").alias("tail_number"),
            "flight",
            "carrier",
            "origin",
            nw.col("dest").alias("destination"),
            nw.col("hour").alias("departure_hour"),
            _weekday().alias("weekday"),
            nw.col("distance").cast(nw.Float64),
            "seats",
            (nw.col("year") - nw.col("built")).alias("plane_age"),
            *OBSERVATIONS.values(),
            (nw.col("dep_delay") > LATE_MINUTES).alias("late"),
        )
        .sort("scheduled_hour", "carrier", "flight", "origin")
    )


def _observed(weather: IntoFrame) -> nw.LazyFrame[Any]:
    """Return the weather by airport and hour, under the names of the features."""
    observations = [nw.col(raw).alias(name) for raw, name in OBSERVATIONS.items()]
    hour = nw.col("time_hour").alias("observed_hour")
    return nw.from_native(weather).lazy().select("origin", hour, *observations)


def _fleet(planes: IntoFrame) -> nw.LazyFrame[Any]:
    """Return what the registry of planes knows by tail number."""
    return nw.from_native(planes).lazy().select("tailnum", "seats", nw.col("year").alias("built"))


def _weekday() -> nw.Expr:
    """Return the local day of the week, Monday is 1."""
    text = nw.concat_str(
        nw.col("year").cast(nw.String),
        nw.col("month").cast(nw.String).str.zfill(2),
        nw.col("day").cast(nw.String).str.zfill(2),
        separator="-",
    )
    day = text.str.to_date(format="%Y-%m-%d").dt.weekday()
    return (day + 6) % 7 + 1  # Sunday is 7; in some engines it is 0
