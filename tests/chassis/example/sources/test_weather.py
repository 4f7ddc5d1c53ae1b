"""The weather as features, from a weather service that may be slow, wrong or down."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from chassis.example.sources.weather_service import (
    Behaviour,
    WeatherService,
    answer,
    break_off,
    drip,
    good,
    hang_up,
    late,
    observation,
    one_after_another,
    weather_service,
    wrong_encoding,
)
from ml_chassis.sources.live import MISSING, LiveSource, Observed
from ml_chassis.sources.resilience import Limits
from model_service.weather import live_weather

LIMITS = Limits(budget=3, attempts=3, min_calls=3, pause=0.5, fresh=30, keep=60)
DOWN = answer(b"", 500)


@pytest.fixture
def service() -> Iterator[WeatherService]:
    with weather_service() as running:
        yield running


def run(
    service: WeatherService,
    requests: Callable[[LiveSource], Coroutine[Any, Any, Any]],
    limits: Limits = LIMITS,
) -> Any:
    """Run requests that ask for the weather."""

    async def ask() -> Any:
        weather = live_weather(service.url, limits)
        try:
            return await requests(weather)
        finally:
            await weather.close()

    return asyncio.run(ask())


async def newark(weather: LiveSource) -> Observed:
    return await weather.at("EWR")


async def together(weather: LiveSource, count: int = 20) -> list[Observed]:
    return await asyncio.gather(*(newark(weather) for _ in range(count)))


def timed(
    requests: Callable[[LiveSource], Coroutine[Any, Any, Any]],
) -> Callable[[LiveSource], Coroutine[Any, Any, tuple[Any, float]]]:
    """Return the seconds that the requests take as well."""

    async def ask(weather: LiveSource) -> tuple[Any, float]:
        start = time.monotonic()
        return await requests(weather), time.monotonic() - start

    return ask


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"source": "weather", **labels}) or 0


def test_an_observation_becomes_features(service: WeatherService) -> None:
    observed_at = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=20)
    service.behaviour = answer(observation(observed_at))

    weather = run(service, newark)

    assert weather == Observed(
        {
            "temperature": 73.04,
            "dew_point": 64.94,
            "humidity": 75.77,
            "wind_speed": 4.7,
            "wind_gust": None,
            "precipitation": 0.1,
            "pressure": 1018.7,
            "visibility": 10.0,
        },
        "live",
        observed_at,
    )
    ((path, headers),) = service.asked
    assert path == "/stations/KEWR/observations/latest"
    assert headers["User-Agent"] == "model_service"
    assert headers["Accept"] == "application/geo+json"


@pytest.mark.parametrize(
    ("reading", "value", "unit", "feature", "expected"),
    [
        ("windSpeed", 10, "wmoUnit:m_s-1", "wind_speed", 22.37),
        ("windSpeed", 10, "unit:km_h-1", "wind_speed", 6.21),
        ("windGust", 50, "wmoUnit:km_h-1", "wind_gust", 31.07),
        ("precipitationLastHour", 0.00254, "wmoUnit:m", "precipitation", 0.1),
        ("temperature", -40, "wmoUnit:degC", "temperature", -40),
        ("temperature", -40, "wmoUnit:degF", "temperature", -40),
        ("relativeHumidity", 100.00000000000001, "wmoUnit:percent", "humidity", 100),
    ],
)
def test_units_are_converted(
    service: WeatherService, reading: str, value: float, unit: str, feature: str, expected: float
) -> None:
    service.behaviour = answer(observation(**{reading: {"value": value, "unitCode": unit}}))

    assert run(service, newark).features[feature] == expected


@pytest.mark.parametrize(
    ("quantity", "counts"),
    [
        ({"value": 60, "unitCode": "wmoUnit:degC"}, 1),
        ({"value": 1e999, "unitCode": "wmoUnit:degC"}, 1),
        ({"value": float("nan"), "unitCode": "wmoUnit:degC"}, 1),
        ({"value": 20, "unitCode": "wmoUnit:K"}, 1),
        ({"value": 20}, 1),
        ({"value": None, "unitCode": "wmoUnit:degC"}, 0),
        ({}, 0),
        (None, 0),
    ],
    ids=str,
)
def test_an_impossible_value_is_missing_and_counted(
    service: WeatherService, quantity: Any, counts: int
) -> None:
    metric = "model_service_source_impossible_values_total"
    before = counted(metric, field="temperature")
    service.behaviour = answer(observation(temperature=quantity))

    features = run(service, newark).features

    assert (features["temperature"], features["dew_point"]) == (None, 64.94)
    assert counted(metric, field="temperature") - before == counts


@pytest.mark.parametrize(
    ("behaviour", "calls", "result"),
    [
        (answer(b"", 500), 3, "failed"),
        (answer(b"", 502), 3, "failed"),
        (answer(b"", 503), 3, "busy"),
        (answer(b"", 429), 3, "busy"),
        (answer(b"", 429, Retry_After="60"), 1, "busy"),
        (answer(b"", 404), 1, "refused"),
        (answer(b"", 301, Location="/elsewhere"), 1, "refused"),
        (hang_up, 3, "unreachable"),
        (break_off, 3, "unreachable"),
        (answer(b" " * 10_000_000), 1, "too_long"),
        (answer(b""), 1, "invalid"),
        (answer(b"<html>"), 1, "invalid"),
        (answer(b"[" * 50_000), 1, "invalid"),
        (answer(b"{}"), 1, "invalid"),
        (answer(observation(timestamp="yesterday")), 1, "invalid"),
        (answer(observation(temperature={"value": "warm"})), 1, "invalid"),
        (wrong_encoding, 1, None),
    ],
    ids=[
        *("500", "502", "503", "429", "429 for long", "404", "301", "hang up"),
        *("break off", "10 MB", "empty", "html", "nested", "no properties", "no time", "no number"),
        "wrong encoding",
    ],
)
def test_a_service_that_fails_is_called_again_where_that_may_help(
    service: WeatherService, behaviour: Behaviour, calls: int, result: str | None
) -> None:
    metric = "model_service_source_calls_total"
    before = counted(metric, result=result or "ok")
    service.behaviour = behaviour

    weather = run(service, newark)

    assert weather.source == ("missing" if result else "live")
    assert service.calls == calls
    assert counted(metric, result=result or "ok") - before == calls


@pytest.mark.parametrize("behaviour", [late(4), drip], ids=["late", "drip"])
def test_a_service_that_is_slow_is_given_up_in_time(
    service: WeatherService, behaviour: Behaviour
) -> None:
    before = counted("model_service_source_calls_total", result="timeout")
    service.behaviour = behaviour

    weather, seconds = run(service, timed(newark), replace(LIMITS, budget=1))

    assert weather == MISSING
    assert seconds >= 1
    assert service.calls == 1
    assert counted("model_service_source_calls_total", result="timeout") - before == 1


def test_a_service_that_is_not_there_is_given_up_in_time(service: WeatherService) -> None:
    service.die()
    metric = "model_service_source_calls_total"
    before = counted(metric, result="unreachable")

    assert run(service, newark) == MISSING
    assert counted(metric, result="unreachable") - before == LIMITS.attempts


@pytest.mark.parametrize("failure", [DOWN, hang_up, break_off, answer(b"", 429, Retry_After="0")])
def test_a_failure_that_passes_is_not_noticed(service: WeatherService, failure: Behaviour) -> None:
    service.behaviour = one_after_another(failure, good)

    assert run(service, newark).source == "live"
    assert service.calls == 2


def test_the_service_says_when_to_ask_again(service: WeatherService) -> None:
    service.behaviour = one_after_another(answer(b"", 429, Retry_After="0.15"), good)

    assert run(service, newark).source == "live"
    assert service.times[1] - service.times[0] >= 0.15


@pytest.mark.parametrize("given", ["60", "a date"])
def test_nothing_is_asked_before_the_time_that_the_service_says(
    service: WeatherService, given: str
) -> None:
    when = datetime.now(UTC) + timedelta(seconds=60)
    date = f"{when:%a, %d %b %Y %H:%M:%S GMT}"
    service.behaviour = answer(b"", 503, Retry_After=date if given == "a date" else given)

    async def requests(weather: LiveSource) -> list[Observed]:
        return [await newark(weather), await weather.at("JFK")]

    answers, seconds = run(service, timed(requests), replace(LIMITS, budget=30))

    assert answers == [MISSING, MISSING]
    assert seconds < 30  # what would come too late is not waited for
    assert service.calls == 1


def test_requests_at_the_same_time_share_one_call(service: WeatherService) -> None:
    service.behaviour = late(0.1)

    answers = run(service, together)

    assert {weather.source for weather in answers} == {"live"}
    assert service.calls == 1


def test_a_request_that_is_given_up_does_not_take_others_with_it(service: WeatherService) -> None:
    service.behaviour = late(0.1)

    async def requests(weather: LiveSource) -> list[Observed]:
        first = asyncio.create_task(newark(weather))
        await asyncio.sleep(0.02)
        others = asyncio.create_task(together(weather))
        await asyncio.sleep(0.02)
        first.cancel()
        return await others

    assert {weather.source for weather in run(service, requests)} == {"live"}
    assert service.calls == 1


def test_a_fresh_value_is_used_again(service: WeatherService) -> None:
    async def requests(weather: LiveSource) -> list[Observed]:
        answers = [await newark(weather), await newark(weather), await weather.at("JFK")]
        await asyncio.sleep(0.51)
        return [*answers, await newark(weather)]

    answers = run(service, requests, replace(LIMITS, fresh=0.5))

    assert {weather.source for weather in answers} == {"live"}
    assert [path.split("/")[2] for path, _ in service.asked] == ["KEWR", "KJFK", "KEWR"]


def test_the_last_good_value_is_used_while_the_service_fails(service: WeatherService) -> None:
    limits = replace(LIMITS, attempts=1, pause=0.1, fresh=0.2, keep=5)
    observed_at = datetime.now(UTC) - timedelta(seconds=1)
    service.behaviour = answer(observation(timestamp=observed_at.isoformat()))

    async def requests(weather: LiveSource) -> list[Observed]:
        answers = [await newark(weather)]
        service.behaviour = DOWN
        await asyncio.sleep(0.25)
        answers.append(await newark(weather))
        await asyncio.sleep(limits.keep)
        answers.append(await newark(weather))
        service.behaviour = good
        await asyncio.sleep(limits.pause + 0.02)
        return [*answers, await newark(weather)]

    first, known, missing, again = run(service, requests, limits)

    assert known == first._replace(source="last_known")
    assert known.observed_at == observed_at
    assert missing == MISSING
    assert again.source == "live"


def test_an_old_observation_is_not_the_weather_now(service: WeatherService) -> None:
    old = datetime.now(UTC) - timedelta(seconds=LIMITS.keep + 1)
    service.behaviour = answer(observation(old))

    assert run(service, newark) == MISSING


def test_after_failures_the_service_rests_and_is_then_asked_once(service: WeatherService) -> None:
    service.behaviour = DOWN
    limits = replace(LIMITS, attempts=1)

    async def requests(weather: LiveSource) -> tuple[list[int], list[Observed]]:
        calls = []
        for _ in range(10):
            await newark(weather)
        calls.append(service.calls)
        await asyncio.sleep(limits.pause + 0.02)
        await together(weather)
        await together(weather)
        calls.append(service.calls)
        service.behaviour = good
        await asyncio.sleep(limits.pause + 0.02)
        answers = await together(weather)
        calls.append(service.calls)
        return calls, answers

    calls, answers = run(service, requests, limits)

    assert calls == [3, 4, 5]
    assert {weather.source for weather in answers} == {"live"}


def test_one_station_that_fails_does_not_silence_the_others(service: WeatherService) -> None:
    async def requests(weather: LiveSource) -> str:
        service.behaviour = answer(b"", 404)
        for _ in range(5):
            await newark(weather)
        service.behaviour = good
        return (await weather.at("LGA")).source

    assert run(service, requests) == "live"


def test_what_was_used_is_counted_with_its_age(service: WeatherService) -> None:
    state, age = "model_service_source_values_total", "model_service_source_age_seconds_sum"
    before = counted(state, state="live"), counted(age)
    service.behaviour = answer(observation(datetime.now(UTC) - timedelta(seconds=30)))

    run(service, newark)

    assert counted(state, state="live") - before[0] == 1
    assert counted(age) - before[1] == pytest.approx(30, abs=2)


def test_without_an_address_nobody_is_asked() -> None:
    assert asyncio.run(newark(live_weather(""))) == MISSING
