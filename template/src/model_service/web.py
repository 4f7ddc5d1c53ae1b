"""YOURS: routes of your own, a FastAPI application under /api; its document is /api/docs.

A route predicts in this process, with `predict`; a body has 64 KiB at most. As an example, POST
/api/flights takes what an airline knows of a flight, completes it with the weather now, and answers
how likely it is late.

With features of your own, replace the example. To do without: delete this file, `sources/` and the
tests of both, and take `create_web` out of `serving/service.py`, and `weather_url` out of
`settings.py` and docs/sizing.md.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime, ValidationError

from .schema import Features
from .serving.messages import explain
from .serving.mounted import application, predictor
from .serving.runtime import Runtime
from .sources.weather import MISSING, LiveWeather

NEW_YORK = ZoneInfo("America/New_York")
# The model has learnt from the weather two to three hours before a departure. Of flights that leave
# later it is not known yet.
FORESEEN = timedelta(hours=3)


class Flight(BaseModel):
    """A scheduled flight; what its values may be is declared in `schema.py`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    carrier: Annotated[str, Field(examples=["UA"])]
    origin: Annotated[str, Field(examples=["EWR"])]
    destination: Annotated[str, Field(examples=["IAH"])]
    departure: Annotated[
        NaiveDatetime,
        Field(strict=False, description="Scheduled local time.", examples=["2026-01-30T17:05"]),
    ]
    distance: Annotated[float, Field(description="Miles.", examples=[1400])]
    seats: int | None = None
    plane_age: Annotated[int | None, Field(description="Years.")] = None


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
    live = LiveWeather(runtime.settings.weather_url)

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
            probability=scored.probabilities[0],
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
    known = flight.model_dump(exclude={"departure"})
    leaves = {"departure_hour": flight.departure.hour, "weekday": flight.departure.isoweekday()}
    try:
        return Features.model_validate(known | leaves)
    except ValidationError as error:
        raise explain(error) from None
