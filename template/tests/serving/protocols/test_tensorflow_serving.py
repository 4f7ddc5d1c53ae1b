"""TensorFlow Serving's REST interface, as its clients write it: with json or requests alone."""

import json
import math
from typing import Any

import httpx
import pytest

from model_service.contract import example_row
from model_service.serving.protocols.tensorflow_serving import number
from tests.conftest import Trained
from tests.serving.protocols.conftest import ROWS

PREDICT = "/v1/models/model:predict"
ROW = example_row()
COLUMNS = {name: [row[name] for row in ROWS] for name in ROW}


def test_rows_are_predicted(client: httpx.Client, expected: list[float]) -> None:
    answer = client.post(PREDICT, json={"instances": ROWS}).raise_for_status()

    assert answer.json() == {"predictions": expected}


def test_columns_are_predicted(client: httpx.Client, expected: list[float]) -> None:
    request = {"signature_name": "serving_default", "inputs": COLUMNS}

    assert client.post(PREDICT, json=request).json() == {"outputs": expected}


def test_values_may_stand_in_lists_of_their_own(
    client: httpx.Client, expected: list[float]
) -> None:
    rows = [{name: [value] for name, value in row.items()} for row in ROWS]
    columns = {name: [[value] for value in values] for name, values in COLUMNS.items()}

    assert client.post(PREDICT, json={"instances": rows}).json() == {"predictions": expected}
    assert client.post(PREDICT, json={"inputs": columns}).json() == {"outputs": expected}


@pytest.mark.parametrize("missing", [None, math.nan])
def test_what_is_missing_may_be_null_or_nan(
    client: httpx.Client, expected: list[float], missing: float | None
) -> None:
    rows = [ROWS[0], {**ROWS[1], "seats": missing}]

    answer = client.post(PREDICT, content=json.dumps({"instances": rows}))

    assert answer.json() == {"predictions": expected}


def test_versions_are_the_time_of_ours(client: httpx.Client, trained: Trained) -> None:
    version = number(trained.manifest.version)
    assert version == f"{trained.manifest.created_at:%Y%m%d%H%M%S}"

    for path in ("/v1/models/model", f"/v1/models/model/versions/{version}"):
        (status,) = client.get(path).raise_for_status().json()["model_version_status"]
        assert status == {
            "version": version,
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    client.post(
        f"/v1/models/model/versions/{version}:predict", json={"instances": ROWS}
    ).raise_for_status()


def test_the_metadata_say_what_the_model_takes(client: httpx.Client) -> None:
    metadata = client.get("/v1/models/model/metadata").raise_for_status().json()

    assert metadata["model_spec"]["name"] == "model"
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"].keys() == ROW.keys()
    assert signature["inputs"]["carrier"]["dtype"] == "DT_STRING"
    assert signature["outputs"]["probability"]["dtype"] == "DT_FLOAT"


@pytest.mark.parametrize("path", ["", "/metadata", "/versions/1", "/versions/1/metadata"])
@pytest.mark.parametrize("model", ["model", "other"])
def test_another_model_or_version_is_not_here(client: httpx.Client, path: str, model: str) -> None:
    if model == "model" and "versions" not in path:
        path = "/versions/1"
    response = client.get(f"/v1/models/{model}{path}")

    assert response.status_code == 404
    assert response.json().keys() == {"error"}


@pytest.mark.parametrize("path", ["model/versions/1", "other", "other/versions/1"])
def test_another_model_or_version_does_not_predict(client: httpx.Client, path: str) -> None:
    response = client.post(f"/v1/models/{path}:predict", json={"instances": ROWS})

    assert response.status_code == 404
    assert response.json().keys() == {"error"}


def instances(**changes: Any) -> dict[str, Any]:
    return {"instances": [ROW, {**ROW, **changes}]}


def columns(**changes: Any) -> dict[str, Any]:
    return {"inputs": {**COLUMNS, **changes}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (instances(wind_speed=-1), "Row 1, wind_speed: Input should be greater"),
        (instances(weekday=5.5), "Row 1, weekday: Input should be a valid integer"),
        (instances(weekday="5"), "Row 1, weekday: Input should be a valid integer"),
        (instances(weekday=[5, 5]), "Row 1, weekday"),
        (instances(weekday=None), "Row 1, weekday"),
        (instances(carrier={"b64": "VUE="}), "Row 1, carrier: Input should be a valid string"),
        (instances(invented=1), "Row 1, invented"),
        (columns(wind_speed=[1, -1]), "Row 1, wind_speed: Input should be greater"),
        (columns(wind_speed=[1]), "wind_speed: The columns differ in length; this has 1"),
        (columns(wind_speed=1), "wind_speed: Input should be a list"),
        (columns(invented=[1, 1]), "Row 0, invented"),
        ({"inputs": {"carrier": ["UA"] * 100_000}}, "1000 rows at most"),
        ({"inputs": {}}, "at least 1"),
        ({"inputs": [1.0]}, "Expected `object"),
        ({"instances": []}, "at least 1"),
        ({"instances": [1.0, 2.0]}, "Row 0"),
        ({"instances": {}}, "Expected `array"),
        ({"instances": [ROW] * 1_001}, "1000 rows at most"),
        ({"instances": [ROW], "inputs": COLUMNS}, "either instances or inputs"),
        ({}, "either instances or inputs"),
        ([], "either instances or inputs"),
        ({**instances(), "signature_name": "other"}, "signature_name is serving_default"),
        ({**instances(), "signature_name": 1}, "Expected `str`"),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_a_bad_request_is_refused(client: httpx.Client, body: Any, said: str) -> None:
    response = client.post(PREDICT, json=body)

    assert response.status_code == 400
    assert response.json().keys() == {"error"}
    assert said in response.json()["error"]
