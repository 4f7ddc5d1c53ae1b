"""YOURS: the weather at an airport now, as features; an example of a source that is asked live.

It asks the US National Weather Service, or what speaks like it, for the latest observation:
GET {base_url}/stations/KEWR/observations/latest, see weather.gov/documentation/services-web-api.
"""

import os
import re
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError

from ..monitoring import metrics
from ..schema import Features
from ..settings import SettingsError
from . import http
from .resilience import Limits, SourceError, resilient

SOURCE = "weather"
VARIABLE = "WEATHER_URL"
ADDRESS = r"(https?://[\w.\-]+(:\d{1,5})?(/[^\s?#]*)?)?"
HEADERS = {
    "Accept": "application/geo+json",
    # The weather service asks who calls: add an address at which you can be reached.
    "User-Agent": "model_service",
}

Units = dict[str, tuple[float, float]]
"""By unit: the factor, and what is then added, that give the unit of the feature."""
FAHRENHEIT: Units = {"degC": (1.8, 32), "degF": (1, 0)}
PERCENT: Units = {"percent": (1, 0)}
MILES_PER_HOUR: Units = {"km_h-1": (1 / 1.609344, 0), "m_s-1": (3.6 / 1.609344, 0)}
INCHES: Units = {"mm": (1 / 25.4, 0), "m": (1 / 0.0254, 0)}
HECTOPASCAL: Units = {"Pa": (0.01, 0)}
MILES: Units = {"m": (1 / 1609.344, 0)}

READINGS = {
    "temperature": ("temperature", FAHRENHEIT),
    "dew_point": ("dewpoint", FAHRENHEIT),
    "humidity": ("relativeHumidity", PERCENT),
    "wind_speed": ("windSpeed", MILES_PER_HOUR),
    "wind_gust": ("windGust", MILES_PER_HOUR),
    "precipitation": ("precipitationLastHour", INCHES),
    "pressure": ("seaLevelPressure", HECTOPASCAL),
    "visibility": ("visibility", MILES),
}
"""By feature: its name in an observation, and the units in which it may come."""

_possible = {
    name: TypeAdapter[float | None](Features.model_fields[name].rebuild_annotation())
    for name in READINGS
    if name in Features.model_fields
}


def address() -> str:
    """Return where the weather service is, by the environment; "" where there is none.

    Raises:
        SettingsError: it is no address.
    """
    url = os.environ.get(VARIABLE, "")
    if not re.fullmatch(ADDRESS, url):
        raise SettingsError(f"{VARIABLE}: give an address, such as https://api.weather.gov.")
    return url


class Weather(NamedTuple):
    """Features of the weather, where they are from, and when they were observed."""

    features: dict[str, float | None]
    source: Literal["live", "last_known", "missing"]
    observed_at: datetime | None


MISSING = Weather({}, "missing", None)


class LiveWeather:
    """Knows the weather now."""

    def __init__(self, base_url: str, limits: Limits | None = None) -> None:
        """Take the address of the weather service; without one, the weather is missing."""
        self._limits = limits or Limits()
        self._client = http.open_client(base_url, HEADERS) if base_url else None
        self._latest = resilient(SOURCE, self._fetch, self._limits)

    async def at(self, airport: str) -> Weather:
        """Return the weather at an airport of the contiguous United States, by its IATA code.

        An observation older than `Limits.keep` is as good as none.
        """
        if self._client is None:
            return MISSING
        found = await self._latest(f"K{airport}")
        if found is None:
            metrics.count_source_value(SOURCE, "missing")
            return MISSING
        observation = found.value
        age = (datetime.now(UTC) - observation.observed_at).total_seconds()
        if age > self._limits.keep:
            metrics.count_source_value(SOURCE, "too_old")
            return MISSING
        state: Literal["live", "last_known"] = "live" if found.live else "last_known"
        metrics.count_source_value(SOURCE, state, age)
        return Weather(observation.features, state, observation.observed_at)

    async def close(self) -> None:
        """Close the connections."""
        if self._client:
            await self._client.aclose()

    async def _fetch(self, station: str) -> "Observation":
        assert self._client  # noqa: S101 - `at` asked
        return read(await http.get(self._client, f"/stations/{station}/observations/latest"))


class Observation(NamedTuple):
    """What a station observed; what it did not is None."""

    features: dict[str, float | None]
    observed_at: datetime


class _Quantity(BaseModel):
    value: float | None = None
    unit: str = Field("", alias="unitCode")


class _Properties(BaseModel, extra="allow"):
    timestamp: AwareDatetime


class _Answer(BaseModel):
    properties: _Properties


def read(body: bytes) -> Observation:
    """Return the observation in an answer; a value that the schema calls impossible is missing.

    Raises:
        SourceError: this is no observation.
    """
    try:
        properties = _Answer.model_validate_json(body).properties
        readings: dict[str, Any] = properties.model_extra or {}
        features = {
            name: _feature(name, _Quantity.model_validate(readings.get(READINGS[name][0]) or {}))
            for name in _possible
        }
    except ValidationError:
        raise SourceError("invalid") from None
    return Observation(features, properties.timestamp)


def _feature(name: str, quantity: _Quantity) -> float | None:
    """Return a reading in the unit of the feature."""
    if quantity.value is None:
        return None
    units = READINGS[name][1]
    # "wmoUnit:degC", or "unit:degC" as it was before.
    factor, added = units.get(quantity.unit.rpartition(":")[2], (float("nan"), 0.0))
    try:
        return _possible[name].validate_python(round(quantity.value * factor + added, 2))
    except ValidationError:
        metrics.count_impossible_value(SOURCE, name)
        return None
