"""YOURS: the raw tables as other systems keep them, and where those are.

Types say what a value must be readable as; what is possible is said in `schema.py`, since what is
impossible for one model may serve another.
"""

from datetime import datetime, timedelta

from ml_chassis.data.tables import RawTable

FLIGHTS = RawTable(
    name="flights",
    address="data/raw/flights.parquet",
    columns={
        "time_hour": datetime,
        "carrier": str,
        "flight": int,
        "origin": str,
        "dest": str,
        "tailnum": str,
        "year": int,
        "month": int,
        "day": int,
        "hour": int,
        "distance": int,
        "dep_delay": int,
    },
    key=("time_hour", "carrier", "flight", "origin"),
    time="time_hour",
)

WEATHER = RawTable(
    name="weather",
    address="data/raw/weather.parquet",
    columns={
        "time_hour": datetime,
        "origin": str,
        "temp": float,
        "dewp": float,
        "humid": float,
        "wind_speed": float,
        "wind_gust": float,
        "precip": float,
        "pressure": float,
        "visib": float,
    },
    key=("time_hour", "origin"),
    time="time_hour",
)

PLANES = RawTable(
    name="planes",
    address="data/raw/planes.parquet",
    columns={"tailnum": str, "year": int, "seats": int},
    key=("tailnum",),
)

TABLES = (FLIGHTS, WEATHER, PLANES)

LOOKBACK = timedelta(hours=3)
"""How far before a row's time the raw rows may lie of which its features are made."""
