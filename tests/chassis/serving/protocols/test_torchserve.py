"""TorchServe's interface, as its clients write it: with curl or requests alone."""

from typing import Any

import httpx
import pytest

from chassis.rows import BEYOND, REQUIRED, ROW, ROWS, WRONG, Wrong, needs
from ml_chassis.contract import Prediction
from ml_chassis.testing import Trained

PREDICT = "/predictions/model"


def test_one_row_is_answered_with_a_number(
    client: httpx.Client, expected: list[Prediction]
) -> None:
    assert client.post(PREDICT, json=ROWS[0]).json() == expected[0]


def test_rows_are_answered_with_numbers(client: httpx.Client, expected: list[Prediction]) -> None:
    assert client.post(PREDICT, json=ROWS).json() == expected


@pytest.mark.parametrize("wrapper", ["rows", "instances"])
def test_wrapped_rows_are_answered_with_predictions(
    client: httpx.Client, expected: list[Prediction], wrapper: str
) -> None:
    assert client.post(PREDICT, json={wrapper: ROWS}).json() == {"predictions": expected}


def test_put_predicts_as_post_does(client: httpx.Client, expected: list[Prediction]) -> None:
    assert client.put(PREDICT, json=ROWS).json() == expected


def test_a_version_may_be_named(
    client: httpx.Client, trained: Trained, expected: list[Prediction]
) -> None:
    path = f"{PREDICT}/{trained.manifest.version}"

    assert client.post(path, json=ROWS).json() == expected


def test_the_service_is_healthy(client: httpx.Client) -> None:
    assert client.get("/ping").raise_for_status().json() == {"status": "Healthy"}


def test_the_model_is_listed(client: httpx.Client, trained: Trained) -> None:
    (listed,) = client.get("/models").raise_for_status().json()["models"]
    assert listed["modelName"] == "model"

    for path in ("/models/model", f"/models/model/{trained.manifest.version}", "/models/model/all"):
        (model,) = client.get(path).raise_for_status().json()
        assert model["modelVersion"] == trained.manifest.version
        assert [worker["status"] for worker in model["workers"]] == ["READY"] * 2


@pytest.mark.parametrize("path", ["other", "other/1", "model/1"])
def test_another_model_or_version_is_not_here(client: httpx.Client, path: str) -> None:
    for response in (
        client.get(f"/models/{path}"),
        client.post(f"/predictions/{path}", json=ROW),
        client.put(f"/predictions/{path}", json=ROW),
    ):
        assert response.status_code == response.json()["code"] == 404
        assert response.json()["type"] == "ModelNotFoundException"


@pytest.mark.parametrize("wrong", WRONG, ids=lambda each: str(each[:2]))
def test_a_bad_value_is_refused_by_row_and_field(client: httpx.Client, wrong: Wrong) -> None:
    response = client.post(PREDICT, json=[ROW, wrong.row])

    assert response.status_code == response.json()["code"] == 400
    assert f"Row 1, {wrong.field}: {wrong.message}" in response.json()["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (BEYOND.row, f"Row 0, {BEYOND.field}: {BEYOND.message}"),
        ({"rows": [ROW, {**ROW, "invented": 5}]}, "Row 1, invented"),
        ({"instances": []}, "at least 1"),
        ({"instances": 5}, "Row 0"),
        ({"rows": [ROW], "more": 1}, "Row 0"),
        ([], "at least 1"),
        pytest.param({}, f"{REQUIRED}: Field required", marks=needs(REQUIRED)),
        (5, "Row 0"),
        ([[ROW]], "Row 0"),
        ([ROW] * 1_001, "1000 rows at most"),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_a_bad_request_is_refused(client: httpx.Client, body: Any, said: str) -> None:
    response = client.post(PREDICT, json=body)

    assert response.status_code == response.json()["code"] == 400
    assert response.json()["type"] == "BadRequestException"
    assert said in response.json()["message"]
