"""YOURS: the weather at an airport now, as features; an example of a source that is asked live.

It asks the US National Weather Service, or what speaks like it, for the latest observation; see
weather.gov/documentation/services-web-api.
"""

from typing import Any

from ml_chassis.sources.live import LiveSource, Observation, possible_values
from ml_chassis.sources.resilience import Limits
from pydantic import AwareDatetime, BaseModel, Field

from .schema import Features

SOURCE = "weather"
PATH = "/stations/K{}/observations/latest"
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

possible = possible_values(SOURCE, Features)


def live_weather(base_url: str, limits: Limits | None = None) -> LiveSource:
    """Return what knows the weather now, by the IATA code of an airport.

    Airports of the contiguous United States; without an address, the weather is missing.
    """
    return LiveSource(SOURCE, base_url, PATH, read, HEADERS, limits)


class Quantity(BaseModel):
    """One reading; the unit is "wmoUnit:degC", or "unit:degC" as it was before."""

    value: float | None = None
    unit: str = Field("", alias="unitCode")

    def to(self, units: Units) -> float | None:
        """Return it in the unit of a feature; NaN where its own is unknown."""
        factor, added = units.get(self.unit.rpartition(":")[2], (float("nan"), 0.0))
        return None if self.value is None else round(self.value * factor + added, 2)


class _Properties(BaseModel, extra="allow"):
    timestamp: AwareDatetime


class _Answer(BaseModel):
    properties: _Properties


def read(body: bytes) -> Observation:
    """Return the observation in an answer; a value that the schema calls impossible is missing.

    Raises:
        ValidationError: this is no observation.
    """
    properties = _Answer.model_validate_json(body).properties
    given: dict[str, Any] = properties.model_extra or {}
    values = {
        feature: Quantity.model_validate(given.get(name) or {}).to(units)
        for feature, (name, units) in READINGS.items()
    }
    return Observation(possible(values), properties.timestamp)
