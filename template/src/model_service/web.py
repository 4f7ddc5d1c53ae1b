"""YOURS: routes of your own, a FastAPI application under /api; its document is /api/docs.

A route predicts in this process, with `predict`; a body has 64 KiB at most. As an example, POST
/api/flights takes what an airline knows of a flight, completes it with the weather now, and answers
how likely it is late. WEATHER_URL in the environment says where the weather is asked for, such as
https://api.weather.gov; without it the weather is missing.

With features of your own, replace the example. To do without: delete this file, `weather.py` and
their tests, and take the line `routes` out of [tool.chassis] in pyproject.toml.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal, cast
from zoneinfo import ZoneInfo

from fastapi import FastAPI
from ml_chassis.serving.mounted import application, checked, predictor
from ml_chassis.serving.runtime import Runtime
from ml_chassis.sources.live import MISSING, address
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from .schema import Airport, Features
from .weather import live_weather

NEW_YORK = ZoneInfo("America/New_York")
FORESEEN = timedelta(hours=3)
"""The model has learnt from the weather two to three hours before a departure."""
KNOWN = Features.model_fields


def _to_date(value: Any) -> date:
    if isinstance(value, str) and len(value) == len("2026-01-30"):
        return date.fromisoformat(value)
    raise ValueError("Input should be a date, such as 2026-01-30")


Day = Annotated[date, BeforeValidator(_to_date)]
CLOCK = "^([01][0-9]|2[0-3]):[0-5][0-9]$"


class Flight(BaseModel):
    """A scheduled flight; what its values may be is declared in `schema.py`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    carrier: Annotated[str, KNOWN["carrier"]]
    origin: Annotated[Airport, KNOWN["origin"]]
    destination: Annotated[str, KNOWN["destination"]]
    date: Day = Field(description="Local.", examples=["2026-01-30"])
    time: str = Field(pattern=CLOCK, description="Scheduled departure, local.", examples=["17:05"])
    distance: Annotated[float, KNOWN["distance"]]
    seats: Annotated[int | None, KNOWN["seats"]] = None
    plane_age: Annotated[int | None, KNOWN["plane_age"]] = None

    @property
    def departure(self) -> datetime:
        """Scheduled local time."""
        return datetime.combine(self.date, time.fromisoformat(self.time), NEW_YORK)

    def known(self) -> dict[str, Any]:
        """Return its features, without the weather."""
        leaves = {"departure_hour": self.departure.hour, "weekday": self.departure.isoweekday()}
        return self.model_dump(exclude={"date", "time"}) | leaves


class UsedWeather(BaseModel):
    """Which weather the prediction is made with."""

    source: Literal["live", "last_known", "missing"]
    observed_at: datetime | None


class FlightPrediction(BaseModel):
    """How likely a flight leaves late, and what that is based on."""

    probability: float
    model_version: str
    degraded: str | None = Field(description="Why it is not the model's answer.")
    weather: UsedWeather


def create_web(runtime: Runtime) -> FastAPI:
    """Return the application."""
    predict = predictor(runtime)
    live = live_weather(address("WEATHER_URL"))
    web = application(runtime, live.close, title="Flights")

    @web.post("/flights")
    async def predict_flight(flight: Flight) -> FlightPrediction:
        """Predict whether a flight leaves late."""
        soon = timedelta() <= flight.departure - datetime.now(UTC) <= FORESEEN
        weather = await live.at(flight.origin) if soon else MISSING
        scored = await predict([checked(Features, flight.known() | weather.features)])
        return FlightPrediction(
            probability=cast(float, scored.predictions[0]),
            model_version=scored.version,
            degraded=scored.degraded,
            weather=UsedWeather(source=weather.source, observed_at=weather.observed_at),
        )

    return web
