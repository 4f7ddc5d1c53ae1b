"""What clients rely on, asked over HTTP of the service as it runs in production."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from model_service.contract import example_row
from model_service.serving.api import create_app, endpoints
from model_service.serving.openapi import WEB
from model_service.serving.protocols.tensorflow_serving import number
from model_service.serving.runtime import Runtime
from model_service.serving.scoring import REASONS
from model_service.settings import Settings
from tests.conftest import Trained

ROW = example_row()


def post(client: httpx.Client, rows: Any) -> httpx.Response:
    return client.post("/predict", json={"rows": rows})


@pytest.mark.parametrize("count", [1, 2, 1_000])
def test_each_row_gets_a_probability_and_an_id(
    client: httpx.Client, trained: Trained, count: int
) -> None:
    answer = post(client, [ROW] * count).raise_for_status().json()

    assert answer.keys() == {"predictions", "model_version", "prediction_id"}
    assert len(answer["predictions"]) == len(set(answer["prediction_id"])) == count
    assert all(0 <= probability <= 1 for probability in answer["predictions"])
    assert answer["model_version"] == trained.manifest.version


def test_a_row_is_answered_the_same_alone_and_among_others(client: httpx.Client) -> None:
    other = {**ROW, "departure_hour": 6, "wind_speed": None}

    together = post(client, [ROW, other]).json()["predictions"]
    alone = [post(client, [row]).json()["predictions"][0] for row in (ROW, other)]

    assert together == alone
    assert together[0] != together[1]


def test_a_value_that_may_be_missing_may_be_left_out(client: httpx.Client) -> None:
    without = {name: value for name, value in ROW.items() if name != "wind_gust"}

    left_out = post(client, [without]).raise_for_status().json()["predictions"]
    null = post(client, [{**ROW, "wind_gust": None}]).raise_for_status().json()["predictions"]

    assert left_out == null


def test_a_whole_number_may_be_written_as_a_fraction(client: httpx.Client) -> None:
    body = json.dumps({"rows": [ROW]}).replace(": 17,", ": 17.0,")
    assert "17.0" in body

    answer = client.post("/predict", content=body).raise_for_status().json()

    assert answer["predictions"] == post(client, [ROW]).json()["predictions"]


def test_an_unknown_category_is_answered(client: httpx.Client) -> None:
    post(client, [{**ROW, "carrier": "ZZ"}]).raise_for_status()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("wind_speed", -1),
        ("wind_speed", "12"),
        ("wind_speed", True),
        ("seats", 1.5),
        ("seats", 10**30),
        ("distance", None),
        ("carrier", None),
        ("carrier", "ua"),
        ("origin", "BOS"),
        ("no_such_feature", 1),
    ],
)
def test_a_bad_value_is_refused_by_row_and_field(
    client: httpx.Client, field: str, value: Any
) -> None:
    response = post(client, [ROW, {**ROW, field: value}])

    assert response.status_code == 422
    (problem,) = response.json()["problems"]
    assert (problem["row"], problem["field"]) == (1, field)
    assert problem["message"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b'{"rows": [{"distance": NaN}]}', 422, "distance"),
        (b"[]", 422, "object"),
        (b"{}", 422, "rows"),
        (json.dumps(ROW).encode(), 422, '{\\"rows\\": ['),
        (b'{"rows": []}', 422, "rows"),
        (b'{"rows": {}}', 422, "rows"),
        (b'{"rows": [], "more": 1}', 422, "more"),
        (json.dumps({"rows": [ROW] * 1_001}).encode(), 422, "1000"),
        (b'{"rows": [%s]}' % b",".join([b"{}"] * 200_000), 422, "carrier"),
        (json.dumps({"rows": [dict.fromkeys(map(str, range(50_000)))]}).encode(), 422, "problems"),
        (b" " * (Settings().max_body_bytes + 1), 413, "bytes at most"),
        (b"[" * 100_000, 400, "not JSON"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_bad_body_is_refused(client: httpx.Client, body: bytes, status: int, said: str) -> None:
    response = client.post("/predict", content=body)

    assert response.status_code == status
    assert said in response.text


def test_a_body_without_a_length_is_limited_too(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100_000

    try:
        status = client.post("/predict", content=endless()).status_code
    except httpx.WriteError:  # the service answered and hung up while we were sending
        return
    assert status == 413


def test_a_refusal_does_not_repeat_what_was_sent(client: httpx.Client) -> None:
    response = post(client, [{**ROW, "carrier": "SECRET"}])

    assert response.status_code == 422
    assert "SECRET" not in response.text


def test_the_service_is_alive_and_ready(client: httpx.Client) -> None:
    client.get("/livez").raise_for_status()
    client.get("/readyz").raise_for_status()


def test_the_front_page_says_what_is_served(client: httpx.Client, trained: Trained) -> None:
    page = client.get("/").raise_for_status().json()

    assert page["model_version"] == trained.manifest.version
    client.get(page["documentation"]).raise_for_status()


def test_requests_are_counted_over_all_workers(client: httpx.Client) -> None:
    line = 'model_service_requests_total{route="/predict",status="200"}'

    def counted() -> float:
        found = [text for text in client.get("/metrics").text.splitlines() if line in text]
        return float(found[0].split()[-1]) if found else 0

    before = counted()
    for _ in range(20):  # a new connection each, so that both workers answer some
        httpx.post(f"{client.base_url}/predict", json={"rows": [ROW]}).raise_for_status()
    assert counted() == before + 20


def test_unknown_paths_make_no_series(client: httpx.Client) -> None:
    assert client.get("/no/such/path").status_code == 404
    post(client, [{**ROW, "invented": 1}])

    metrics = client.get("/metrics").text
    assert "/no/such/path" not in metrics
    assert "invented" not in metrics


def test_each_reason_for_the_fallback_is_counted_from_zero(client: httpx.Client) -> None:
    metrics = client.get("/metrics").text

    for reason in REASONS:
        line = f'model_service_degraded_predictions_total{{reason="{reason}"}}'
        assert line in metrics


def test_the_document_describes_every_feature(client: httpx.Client) -> None:
    document = client.get("/docs.json").raise_for_status().json()

    assert document["openapi"].startswith("3.1")
    assert set(document["components"]["schemas"]["Features"]["properties"]) == set(ROW)
    example = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    post(client, example["example"]["rows"]).raise_for_status()


def test_every_documented_path_answers(client: httpx.Client, trained: Trained) -> None:
    for template, methods in client.get("/docs.json").json()["paths"].items():
        version = trained.manifest.version
        path = template.format(version=number(version) if template.startswith("/v1") else version)
        for method in methods:
            assert client.request(method, path).status_code not in {404, 405}


def test_every_documented_example_is_answered(client: httpx.Client) -> None:
    for path, methods in client.get("/docs.json").json()["paths"].items():
        if "post" in methods and "{version}" not in path and not path.startswith(WEB):
            content = methods["post"]["requestBody"]["content"]["application/json"]
            client.post(path, json=content["example"]).raise_for_status()


def test_every_route_is_documented(client: httpx.Client) -> None:
    runtime = Runtime(Settings())
    documented = client.get("/docs.json").json()["paths"]

    for route in create_app(runtime, endpoints(runtime)).routes:
        assert isinstance(route, Route)
        path = route.path.format(name="model", version="{version}")
        for method in (route.methods or set()) - {"HEAD"}:
            assert path == "/docs.json" or method.lower() in documented[path]
