"""YOURS: routes of your own, a FastAPI application under /api; its document is /api/docs.

A route predicts in this process, with `predict`; a body has 64 KiB at most. As an example, POST
/api/flights takes what an airline knows of a flight, completes it with the weather now, and answers
how likely it is late. The weather is asked for at the address that WEATHER_URL has in the
environment, such as https://api.weather.gov; without one it is missing.

With features of your own, replace the example. To do without: delete this file, `sources/` and
`tests/example/`, and take `create_web` out of `serving/service.py` and `compatibility.py`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal, cast
from zoneinfo import ZoneInfo

from fastapi import FastAPI
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .schema import Airport, Features
from .serving.messages import explain
from .serving.mounted import application, predictor
from .serving.runtime import Runtime
from .sources.weather import MISSING, LiveWeather, address

NEW_YORK = ZoneInfo("America/New_York")
# The model has learnt from the weather two to three hours before a departure. Of flights that leave
# later it is not known yet.
FORESEEN = timedelta(hours=3)

KNOWN = Features.model_fields


def _to_date(value: Any) -> date:
    if isinstance(value, str) and len(value) == len("2026-01-30"):
        return date.fromisoformat(value)
    raise ValueError("Input should be a date, such as 2026-01-30")


class Flight(BaseModel):
    """A scheduled flight; what its values may be is declared in `schema.py`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    carrier: Annotated[str, KNOWN["carrier"]]
    origin: Annotated[Airport, KNOWN["origin"]]
    destination: Annotated[str, KNOWN["destination"]]
    date: Annotated[
        date, BeforeValidator(_to_date), Field(description="Local.", examples=["2026-01-30"])
    ]
    time: Annotated[
        str,
        Field(
            pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$",
            description="Scheduled departure, local.",
            examples=["17:05"],
        ),
    ]
    distance: Annotated[float, KNOWN["distance"]]
    seats: Annotated[int | None, KNOWN["seats"]] = None
    plane_age: Annotated[int | None, KNOWN["plane_age"]] = None

    @property
    def departure(self) -> datetime:
        """Scheduled local time."""
        return datetime.combine(self.date, time.fromisoformat(self.time))


class UsedWeather(BaseModel):
    """Which weather the prediction is made with."""

    source: Literal["live", "last_known", "missing"]
    observed_at: datetime | None


class FlightPrediction(BaseModel):
    """How likely a flight leaves late, and what that is based on."""

    probability: float
    model_version: str
    degraded: Annotated[str | None, Field(description="Why it is not the model's answer.")]
    weather: UsedWeather


def create_web(runtime: Runtime) -> FastAPI:
    """Return the application."""
    predict = predictor(runtime)
    live = LiveWeather(address())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await live.close()

    web = application(runtime, title="Flights", lifespan=lifespan)

    @web.post("/flights")
    async def predict_flight(flight: Flight) -> FlightPrediction:
        """Predict whether a flight leaves late."""
        row = to_features(flight)
        leaves_in = flight.departure.replace(tzinfo=NEW_YORK) - datetime.now(UTC)
        soon = timedelta() <= leaves_in <= FORESEEN
        weather = await live.at(flight.origin) if soon else MISSING
        scored = await predict([row.model_copy(update=weather.features)])
        return FlightPrediction(
            probability=cast(float, scored.predictions[0]),
            model_version=scored.version,
            degraded=scored.degraded,
            weather=UsedWeather(source=weather.source, observed_at=weather.observed_at),
        )

    return web


def to_features(flight: Flight) -> Features:
    """Return what the model knows of a flight, without the weather.

    Raises:
        RefusedError: a value is not one that the schema allows.
    """
    known = flight.model_dump(exclude={"date", "time"})
    leaves = {"departure_hour": flight.departure.hour, "weekday": flight.departure.isoweekday()}
    try:
        return Features.model_validate(known | leaves)
    except ValidationError as error:
        raise explain(error) from None
