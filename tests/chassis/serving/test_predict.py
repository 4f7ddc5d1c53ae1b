"""What clients rely on, asked over HTTP of the service as it runs in production."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from starlette.routing import Route

from chassis.flights import CONTRACT
from chassis.rows import (
    FIRST,
    NUMBER,
    OPTIONAL,
    OTHER,
    ROW,
    SECRET,
    TEXT,
    VALID,
    WHOLE,
    WRONG,
    Wrong,
    assert_possible,
    needs,
)
from ml_chassis.serving.api import SUFFIXES, _encoded_ids, _row_ids, create_app, endpoints
from ml_chassis.serving.openapi import WEB
from ml_chassis.serving.protocols.tensorflow_serving import number
from ml_chassis.serving.runtime import Runtime
from ml_chassis.serving.scoring import REASONS
from ml_chassis.settings import Settings
from ml_chassis.testing import Trained


def post(client: httpx.Client, rows: Any) -> httpx.Response:
    return client.post("/predict", json={"rows": rows})


@pytest.mark.parametrize("count", [1, 2, 1_000])
def test_each_row_gets_a_prediction_and_an_id(
    client: httpx.Client, trained: Trained, count: int
) -> None:
    answer = post(client, [ROW] * count).raise_for_status().json()

    assert answer.keys() == {"predictions", "model_version", "prediction_id"}
    assert len(answer["predictions"]) == len(set(answer["prediction_id"])) == count
    for prediction in answer["predictions"]:
        assert_possible(prediction)
    assert answer["model_version"] == trained.manifest.version


@pytest.mark.parametrize("rows", [1, 2, len(SUFFIXES), len(SUFFIXES) + 1])
def test_ids_that_are_written_at_once_are_those_of_a_table(rows: int) -> None:
    written = msgspec.json.decode(_encoded_ids("0f", rows))

    assert written == _row_ids("0f", rows)
    assert len(set(written)) == rows


def test_a_row_is_answered_the_same_alone_and_among_others(client: httpx.Client) -> None:
    rows = [ROW, OTHER, *VALID[:20]]

    together = post(client, rows).json()["predictions"]
    alone = [post(client, [row]).json()["predictions"][0] for row in rows]

    assert together == alone
    assert any(each != together[0] for each in together)


@needs(OPTIONAL)
def test_a_value_that_may_be_missing_may_be_left_out(client: httpx.Client) -> None:
    without = {name: value for name, value in ROW.items() if name != OPTIONAL}

    left_out = post(client, [without]).raise_for_status().json()["predictions"]
    null = post(client, [{**ROW, OPTIONAL: None}]).raise_for_status().json()["predictions"]

    assert left_out == null


@needs(WHOLE)
def test_a_whole_number_may_be_written_as_a_fraction(client: httpx.Client) -> None:
    body = json.dumps({"rows": [{**ROW, WHOLE: float(ROW[WHOLE])}]})

    answer = client.post("/predict", content=body).raise_for_status().json()

    assert answer["predictions"] == post(client, [ROW]).json()["predictions"]


@needs(TEXT)
def test_a_category_of_another_row_is_answered(client: httpx.Client) -> None:
    post(client, [{**ROW, TEXT: OTHER[TEXT]}]).raise_for_status()


@pytest.mark.parametrize(
    "wrong", [*WRONG, Wrong("no_such_feature", 1, "Extra inputs")], ids=lambda each: str(each[:2])
)
def test_a_bad_value_is_refused_by_row_and_field(client: httpx.Client, wrong: Wrong) -> None:
    response = post(client, [ROW, wrong.row])

    assert response.status_code == 422
    (problem,) = response.json()["problems"]
    assert (problem["row"], problem["field"]) == (1, wrong.field)
    assert wrong.message in problem["message"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        pytest.param(
            b'{"rows": [{"%s": NaN}]}' % NUMBER.encode(), 422, NUMBER, marks=needs(NUMBER)
        ),
        (b"[]", 422, "object"),
        (b"{}", 422, "rows"),
        (json.dumps(ROW).encode(), 422, '{\\"rows\\": ['),
        (b'{"rows": []}', 422, "rows"),
        (b'{"rows": {}}', 422, "rows"),
        (b'{"rows": [], "more": 1}', 422, "more"),
        (json.dumps({"rows": [ROW] * 1_001}).encode(), 422, "1000"),
        (b'{"rows": [%s]}' % b",".join([b"1"] * 200_000), 422, "problems"),
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
    response = post(client, [{**ROW, FIRST: SECRET}])

    assert response.status_code == 422
    assert SECRET[:6] not in response.text


def test_the_service_is_alive_and_ready(client: httpx.Client) -> None:
    client.get("/livez").raise_for_status()
    client.get("/readyz").raise_for_status()


def test_the_front_page_says_what_is_served(client: httpx.Client, trained: Trained) -> None:
    page = client.get("/").raise_for_status().json()

    assert page["model_version"] == trained.manifest.version
    client.get(page["documentation"]).raise_for_status()


def test_requests_are_counted_over_all_workers(client: httpx.Client) -> None:
    line = 'model_service_requests_total{route="/predict",status="200",track="stable"}'

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
        line = f'model_service_degraded_predictions_total{{reason="{reason}",track="stable"}}'
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
    runtime = Runtime(CONTRACT, Settings())
    documented = client.get("/docs.json").json()["paths"]

    for route in create_app(runtime, endpoints(runtime)).routes:
        assert isinstance(route, Route)
        path = route.path.format(name="model", version="{version}")
        for method in (route.methods or set()) - {"HEAD"}:
            assert path == "/docs.json" or method.lower() in documented[path]


@pytest.mark.parametrize("path", ["/predict/", "/v2/models/model/infer/", "/invocations//"])
def test_a_slash_at_the_end_changes_nothing(client: httpx.Client, path: str) -> None:
    body = {"rows": [ROW]} if path == "/predict/" else {}
    expected = client.post(path.rstrip("/"), json=body)

    found = client.post(path, json=body, follow_redirects=False)

    assert found.status_code == expected.status_code
    assert found.json().keys() == expected.json().keys()
    for probe in ("/readyz/", "/livez/", "/metrics/", "/docs.json/", "/v2/health/ready/"):
        assert client.get(probe, follow_redirects=False).status_code == 200


@pytest.mark.parametrize(
    "path", ["/prefix/predict", "/prefix/", "/v2/models/", "/nothing", "/api/nothing", "/api"]
)
def test_a_path_that_is_none_is_answered_in_our_words(client: httpx.Client, path: str) -> None:
    for answer in (client.get(path), client.post(path, json={})):
        assert answer.status_code == 404
        assert "/docs.json" in answer.json()["error"]
        assert "location" not in answer.headers


def test_documents_hold_no_address(client: httpx.Client) -> None:
    """Under the prefix of a proxy, what is relative to a page is found."""
    assert client.get("/docs.json").json()["servers"] == [{"url": "."}]
    assert client.get("/api/openapi.json").json()["servers"] == [{"url": "."}]
    for page in ("/api/docs", "/api/redoc"):
        shown = client.get(page).raise_for_status().text
        assert "openapi.json" in shown
        assert "/openapi.json" not in shown
    assert client.get("/api/docs/", follow_redirects=False).status_code == 404
