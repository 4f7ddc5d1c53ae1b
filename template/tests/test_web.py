"""The route for flights completes a row with the weather, and predicts it as /predict does."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from ml_chassis.project import Project
from ml_chassis.testing import Trained, ask_routes, other_service

from model_service.web import NEW_YORK

FLIGHT = {
    "carrier": "UA",
    "origin": "EWR",
    "destination": "IAH",
    "date": "2026-01-30",
    "time": "17:05",
    "distance": 1400,
    "seats": 149,
}
NOT_ASKED = {"source": "missing", "observed_at": None}


def leaving(hours: float) -> dict[str, Any]:
    """Return a flight that leaves in some hours."""
    departure = datetime.now(NEW_YORK) + timedelta(hours=hours)
    return {**FLIGHT, "date": f"{departure:%Y-%m-%d}", "time": f"{departure:%H:%M}"}


def expected(client: httpx.Client, flight: dict[str, Any], **weather: float) -> dict[str, Any]:
    """Return what /predict says of a flight."""
    departure = datetime.fromisoformat(f"{flight['date']}T{flight['time']}")
    known = {name: value for name, value in flight.items() if name not in {"date", "time"}}
    leaves = {"departure_hour": departure.hour, "weekday": departure.isoweekday()}
    row = known | leaves | weather
    answer = client.post("/predict", json={"rows": [row]}).raise_for_status().json()
    (probability,) = answer["predictions"]
    return {
        "probability": probability,
        "model_version": answer["model_version"],
        "degraded": None,
    }


def test_a_flight_is_predicted_as_its_row_is(client: httpx.Client) -> None:
    answer = client.post("/api/flights", json=FLIGHT).raise_for_status().json()

    assert answer == {**expected(client, FLIGHT), "weather": NOT_ASKED}


@pytest.mark.parametrize(
    ("field", "value"),
    [("carrier", "ua"), ("origin", "BOS"), ("date", "30/1"), ("time", "25:00"), ("distance", -1)],
)
def test_a_bad_value_is_refused_by_field(client: httpx.Client, field: str, value: Any) -> None:
    refused = client.post("/api/flights", json={**FLIGHT, field: value})

    assert refused.status_code == 422
    assert [each["field"] for each in refused.json()["problems"]] == [field]


def test_the_weather_counts_for_a_flight_that_leaves_soon(
    client: httpx.Client, project: Project, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    warm = {"value": 20, "unitCode": "wmoUnit:degC"}
    observed = {"properties": {"timestamp": now.isoformat(), "temperature": warm}}
    soon, later = leaving(hours=1), leaving(hours=6)

    with other_service(200, json.dumps(observed).encode()) as url:
        monkeypatch.setenv("WEATHER_URL", url)
        answers = ask_routes(project, trained.models, "/flights", soon, later)

    used = {"source": "live", "observed_at": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
    assert [answer.json() for answer in answers] == [
        {**expected(client, soon, temperature=68), "weather": used},
        {**expected(client, later), "weather": NOT_ASKED},
    ]


def test_without_the_weather_a_flight_is_predicted_all_the_same(
    client: httpx.Client, project: Project, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    flight = leaving(hours=1)

    with other_service(500, b"") as url:
        monkeypatch.setenv("WEATHER_URL", url)
        (answer,) = ask_routes(project, trained.models, "/flights", flight)

    assert answer.json() == {**expected(client, flight), "weather": NOT_ASKED}
