"""TensorFlow Serving's REST interface, as its clients write it: with json or requests alone."""

import json
import math
from typing import Any

import httpx
import pytest

from chassis.flights import CONTRACT
from chassis.rows import FIRST, OPTIONAL, REQUIRED, ROW, ROWS, WRONG, Wrong, needs
from ml_chassis.contract import Prediction
from ml_chassis.serving.protocols.tensorflow_serving import number
from ml_chassis.testing import Trained

FEATURES = CONTRACT.features
OUTPUT = CONTRACT.output

PREDICT = "/v1/models/model:predict"
COLUMNS = {name: [row[name] for row in ROWS] for name in ROW}


def test_rows_are_predicted(client: httpx.Client, expected: list[Prediction]) -> None:
    answer = client.post(PREDICT, json={"instances": ROWS}).raise_for_status()

    assert answer.json() == {"predictions": expected}


def test_columns_are_predicted(client: httpx.Client, expected: list[Prediction]) -> None:
    request = {"signature_name": "serving_default", "inputs": COLUMNS}

    assert client.post(PREDICT, json=request).json() == {"outputs": expected}


def test_values_may_stand_in_lists_of_their_own(
    client: httpx.Client, expected: list[Prediction]
) -> None:
    rows = [{name: [value] for name, value in row.items()} for row in ROWS]
    columns = {name: [[value] for value in values] for name, values in COLUMNS.items()}

    assert client.post(PREDICT, json={"instances": rows}).json() == {"predictions": expected}
    assert client.post(PREDICT, json={"inputs": columns}).json() == {"outputs": expected}


@needs(OPTIONAL)
@pytest.mark.parametrize("missing", [None, math.nan])
def test_what_is_missing_may_be_null_or_nan(
    client: httpx.Client, expected: list[Prediction], missing: float | None
) -> None:
    rows = [ROWS[0], {**ROWS[1], OPTIONAL: missing}]

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
    for column in FEATURES:
        text = signature["inputs"][column.name]["dtype"] == "DT_STRING"
        assert text == (column.kind == "categorical")
    assert signature["outputs"][OUTPUT]["dtype"] == "DT_FLOAT"


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


@pytest.mark.parametrize("wrong", WRONG, ids=lambda each: str(each[:2]))
def test_a_bad_value_is_refused_by_row_and_field(client: httpx.Client, wrong: Wrong) -> None:
    rows = [ROW, wrong.row]
    columns = {name: [row[name] for row in rows] for name in ROW}

    for body in ({"instances": rows}, {"inputs": columns}):
        response = client.post(PREDICT, json=body)
        assert response.status_code == 400
        assert f"Row 1, {wrong.field}: {wrong.message}" in response.json()["error"]


def instances(name: str, value: Any) -> dict[str, Any]:
    return {"instances": [ROW, {**ROW, name: value}]}


def columns(name: str, values: Any) -> dict[str, Any]:
    return {"inputs": {**COLUMNS, name: values}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (instances(FIRST, [ROW[FIRST]] * 2), f"Row 1, {FIRST}"),
        pytest.param(
            instances(REQUIRED, {"b64": "VUE="}), f"Row 1, {REQUIRED}: Input", marks=needs(REQUIRED)
        ),
        (instances("invented", 1), "Row 1, invented"),
        (columns(FIRST, [ROW[FIRST]]), f"{FIRST}: The columns differ in length; this has 1"),
        (columns(FIRST, ROW[FIRST]), f"{FIRST}: Input should be a list"),
        (columns("invented", [1, 1]), "Row 0, invented"),
        ({"inputs": {FIRST: [ROW[FIRST]] * 100_000}}, "1000 rows at most"),
        ({"inputs": {}}, "at least 1"),
        ({"inputs": [1.0]}, "Expected `object"),
        ({"instances": []}, "at least 1"),
        ({"instances": [1.0, 2.0]}, "Row 0"),
        ({"instances": {}}, "Expected `array"),
        ({"instances": [ROW] * 1_001}, "1000 rows at most"),
        ({"instances": [ROW], "inputs": COLUMNS}, "either instances or inputs"),
        ({}, "either instances or inputs"),
        ([], "either instances or inputs"),
        ({"instances": [ROW], "signature_name": "other"}, "signature_name is serving_default"),
        ({"instances": [ROW], "signature_name": 1}, "Expected `str | null`"),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_a_bad_request_is_refused(client: httpx.Client, body: Any, said: str) -> None:
    response = client.post(PREDICT, json=body)

    assert response.status_code == 400
    assert response.json().keys() == {"error"}
    assert said in response.json()["error"]
