"""The weather now, as features of flights; where there is none, it is missing."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from ml_chassis.sources.live import MISSING, Observed
from ml_chassis.testing import other_service
from pydantic import ValidationError

from model_service.weather import live_weather, read

NOW = datetime.now(UTC).replace(microsecond=0)


def observation(**readings: tuple[float | None, str]) -> bytes:
    """Return an observation as the weather service writes it, from values with units."""
    quantities = {
        name: {"value": value, "unitCode": f"wmoUnit:{unit}"}
        for name, (value, unit) in readings.items()
    }
    return json.dumps({"properties": {"timestamp": NOW.isoformat(), **quantities}}).encode()


def newark(url: str) -> Observed:
    """Ask for the weather at an airport."""

    async def ask() -> Observed:
        live = live_weather(url)
        try:
            return await live.at("EWR")
        finally:
            await live.close()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("name", "value", "unit", "feature", "expected"),
    [
        ("temperature", 20, "degC", "temperature", 68),
        ("dewpoint", 50, "degF", "dew_point", 50),
        ("relativeHumidity", 78.1, "percent", "humidity", 78.1),
        ("windSpeed", 10, "m_s-1", "wind_speed", 22.37),
        ("windGust", 50, "km_h-1", "wind_gust", 31.07),
        ("precipitationLastHour", 2.54, "mm", "precipitation", 0.1),
        ("seaLevelPressure", 101_870, "Pa", "pressure", 1018.7),
        ("visibility", 16_090, "m", "visibility", 10),
    ],
)
def test_a_reading_becomes_a_feature_in_its_unit(
    name: str, value: float, unit: str, feature: str, expected: float
) -> None:
    features, observed_at = read(observation(**{name: (value, unit)}))

    assert features[feature] == expected
    assert [each for each in features if features[each] is not None] == [feature]
    assert observed_at == NOW


@pytest.mark.parametrize("reading", [(999, "degC"), (20, "parsec"), (None, "degC")], ids=str)
def test_a_value_that_is_impossible_or_absent_is_missing(reading: tuple[float, str]) -> None:
    assert read(observation(temperature=reading)).features["temperature"] is None


@pytest.mark.parametrize("body", [b"", b"[]", b'{"properties": {}}'])
def test_what_is_no_observation_is_an_error(body: bytes) -> None:
    with pytest.raises(ValidationError):
        read(body)


def test_the_weather_is_asked_for() -> None:
    with other_service(200, observation(temperature=(20, "degC"))) as url:
        weather = newark(url)

    assert (weather.source, weather.observed_at) == ("live", NOW)
    assert weather.features["temperature"] == 68


@pytest.mark.parametrize(("status", "body"), [(404, b""), (500, b""), (200, b"<html>")])
def test_a_service_that_fails_leaves_it_missing(status: int, body: bytes) -> None:
    with other_service(status, body) as url:
        assert newark(url) == MISSING


def test_without_an_address_it_is_missing() -> None:
    assert newark("") == MISSING
