"""Routes of our own beside the model: the example, and what every such route gets."""

import asyncio
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from chassis.example.sources.weather_service import weather_service
from chassis.flights import CONTRACT
from ml_chassis.contract import Categorical, Numeric, Predictions
from ml_chassis.serving.mounted import MAX_BODY_BYTES
from ml_chassis.serving.runtime import Runtime
from ml_chassis.serving.scoring import Model
from ml_chassis.settings import Settings
from ml_chassis.testing import Trained, start_service
from model_service.web import NEW_YORK, create_web

FLIGHT = {
    "carrier": "UA",
    "origin": "EWR",
    "destination": "IAH",
    "date": "2026-01-30",
    "time": "17:05",
    "distance": 1400,
    "seats": 149,
}
ROW = {
    **{name: value for name, value in FLIGHT.items() if name not in {"date", "time"}},
    "departure_hour": 17,
    "weekday": 5,
}


def test_a_flight_is_predicted_as_its_row_is(client: httpx.Client) -> None:
    answer = client.post("/api/flights", json=FLIGHT).raise_for_status().json()
    row = client.post("/predict", json={"rows": [ROW]}).raise_for_status().json()

    assert answer == {
        "probability": row["predictions"][0],
        "model_version": row["model_version"],
        "degraded": None,
        "weather": {"source": "missing", "observed_at": None},
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("carrier", "SECRET"),
        ("carrier", None),
        ("origin", "SECRET"),
        ("date", "SECRET"),
        ("time", "25:00"),
        ("distance", "SECRET"),
        ("distance", -1),
        ("seats", 10**30),
        ("plane_age", 1.5),
        ("weekday", 5),
    ],
)
def test_a_bad_value_is_refused_by_field_and_not_repeated(
    client: httpx.Client, field: str, value: Any
) -> None:
    response = client.post("/api/flights", json={**FLIGHT, field: value})

    assert response.status_code == 422
    assert response.json().keys() == {"error", "problems"}
    (problem,) = response.json()["problems"]
    assert (problem["row"], problem["field"]) == (None, field)
    assert problem["message"]
    assert "SECRET" not in response.text


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/api/flights", b"", 422, "Field required"),
        ("POST", "/api/flights", b"{", 400, "not JSON"),
        ("POST", "/api/flights", b"[]", 422, "object"),
        ("POST", "/api/flights", b"[" * 50_000, 400, "pars"),
        ("POST", "/api/flights", b'{"distance": 1e999}', 422, "carrier"),
        ("POST", "/api/flights", b" " * (MAX_BODY_BYTES + 1), 413, "bytes at most"),
        ("GET", "/api/flights", b"", 405, "Not Allowed"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_bad_request_is_refused_in_our_words(
    client: httpx.Client, method: str, path: str, body: bytes, status: int, said: str
) -> None:
    json = {"Content-Type": "application/json"}
    response = client.request(method, path, content=body, headers=json)

    assert response.status_code == status
    assert response.json().keys() == {"error", "problems"}
    assert said in response.text


def test_requests_are_counted_by_route_and_never_by_path(client: httpx.Client) -> None:
    line = 'model_service_requests_total{route="/api/flights",status="200",track="stable"}'

    def counted() -> float:
        found = [text for text in client.get("/metrics").text.splitlines() if line in text]
        return float(found[0].split()[-1]) if found else 0

    before = counted()
    for _ in range(5):
        client.post("/api/flights", json=FLIGHT).raise_for_status()
    for path in ("/api/no/such/path", "/api/docs/none", "/api/flights/none"):
        assert client.get(path).status_code == 404

    assert client.get("/api/docs").is_success

    assert counted() == before + 5
    metrics = client.get("/metrics").text
    assert "none" not in metrics
    assert "no/such" not in metrics
    assert 'route="/api/other",status="200"' in metrics


def test_the_document_is_found_and_right(client: httpx.Client) -> None:
    page = client.get("/api/docs").raise_for_status().text
    assert "'openapi.json'" in page
    document = client.get("/api/openapi.json").raise_for_status().json()

    assert document["servers"] == [{"url": "."}]
    assert list(document["paths"]) == ["/flights"]
    refused = document["paths"]["/flights"]["post"]["responses"]["422"]
    schema = refused["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Refusal"}
    assert "HTTPValidationError" not in document["components"]["schemas"]


@pytest.mark.slow
def test_the_weather_is_that_of_now_for_flights_that_leave_soon(
    trained: Trained, tmp_path: Path
) -> None:
    with weather_service() as weather:
        service = start_service(trained.models, tmp_path, WEATHER_URL=weather.url)
        try:
            answers = [
                httpx.post(
                    f"{service.url}/api/flights",
                    json={**FLIGHT, **departure_in(hours)},
                )
                .raise_for_status()
                .json()
                for hours in (2, 2, 6, -1)
            ]
        finally:
            service.process.terminate()
            assert service.process.wait(timeout=30) == 0

    sources = [answer["weather"]["source"] for answer in answers]
    assert sources == ["live", "live", "missing", "missing"]
    assert datetime.fromisoformat(answers[0]["weather"]["observed_at"]).tzinfo
    assert answers[0]["probability"] != answers[2]["probability"]
    assert weather.calls == 1


def departure_in(hours: float) -> dict[str, str]:
    """Return a local time from now."""
    departure = datetime.now(NEW_YORK) + timedelta(hours=hours)
    return {"date": f"{departure:%Y-%m-%d}", "time": f"{departure:%H:%M}"}


class Stub:
    """A model that answers 0.5, fails or takes its time."""

    def __init__(self, seconds: float = 0, error: Exception | None = None) -> None:
        self.seconds, self.error = seconds, error

    def predict(self, numeric: Numeric, categorical: Categorical) -> Predictions:
        del categorical
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        return np.full(len(numeric), 0.5, np.float32)


def with_model(stub: Stub, model_seconds: float = 30, **settings: Any) -> Runtime:
    runtime = Runtime(CONTRACT, Settings(model_seconds=model_seconds, **settings))
    runtime.scorer.use(Model("v1", stub, None))
    return runtime


def ask(app: FastAPI, *requests: tuple[str, str, Any]) -> list[httpx.Response]:
    """Send requests at the same time; an error that leaves the application fails the test."""

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await asyncio.gather(
                *(client.request(method, path, json=json) for method, path, json in requests)
            )

    return asyncio.run(send())


POST = ("POST", "/flights", FLIGHT)


def test_a_whole_number_may_be_written_as_a_decimal() -> None:
    app = create_web(with_model(Stub()))
    values = [{"plane_age": 12.0}, {"plane_age": 1.2e1}, {"distance": 1e3}, {"plane_age": 1.5}]

    answers = ask(app, *(("POST", "/flights", {**FLIGHT, **value}) for value in values))

    assert [answer.status_code for answer in answers] == [200, 200, 200, 422]


@pytest.mark.parametrize(
    ("stub", "seconds", "requests", "statuses"),
    [
        (Stub(), 30, 1, {200}),
        (Stub(error=RuntimeError("password=secret")), 30, 1, {503}),
        (Stub(seconds=0.6), 0.3, 1, {504}),
        (Stub(seconds=0.02), 30, 5, {200, 429}),
    ],
    ids=["answers", "fails", "slow", "overloaded"],
)
def test_without_an_answer_of_the_model_the_request_is_refused(
    stub: Stub, seconds: float, requests: int, statuses: set[int]
) -> None:
    responses = ask(create_web(with_model(stub, seconds, max_waiting=1)), *[POST] * requests)

    assert {response.status_code for response in responses} == statuses
    for response in responses:
        if response.status_code != 200:
            assert response.json().keys() == {"error", "problems"}
        assert ("retry-after" in response.headers) == (response.status_code in {429, 503})
        assert "secret" not in response.text


def test_a_route_that_fails_answers_and_says_nothing_of_why() -> None:
    web = create_web(with_model(Stub()))

    @web.get("/broken")
    def broken() -> None:
        raise RuntimeError("password=secret")

    (response,) = ask(web, ("GET", "/broken", None))

    assert response.status_code == 500
    assert response.json().keys() == {"error", "problems"}
    assert "secret" not in response.text


def test_a_service_that_stops_sends_its_clients_elsewhere() -> None:
    runtime = with_model(Stub())
    runtime.drain.active = True

    (response,) = ask(create_web(runtime), POST)

    assert response.is_success
    assert response.headers["connection"] == "close"
