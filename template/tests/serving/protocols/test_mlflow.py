"""MLflow's scoring server and SageMaker's containers, as their clients ask them."""

import csv
import io
import json
import math
from typing import Any

import httpx
import pytest

from model_service.contract import example_row
from tests.serving.protocols.conftest import ROWS

ROW = example_row()
SPLIT = {"columns": list(ROW), "index": [0, 1], "data": [list(row.values()) for row in ROWS]}


def as_csv(*rows: dict[str, Any]) -> str:
    """Return rows as pandas' `to_csv(index=False)` writes them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def ask(client: httpx.Client, body: str | bytes, media_type: str = "application/json") -> Any:
    return client.post("/invocations", content=body, headers={"Content-Type": media_type})


@pytest.mark.parametrize(
    "frame",
    [
        {"dataframe_split": SPLIT},
        {"dataframe_records": ROWS},
        {"instances": ROWS},
        {"inputs": ROWS},
        {"inputs": {name: [row[name] for row in ROWS] for name in ROW}},
        {"dataframe_records": ROWS, "params": {"threshold": 1}},
    ],
    ids=lambda frame: " ".join(frame),
)
def test_each_form_of_a_frame_is_predicted(
    client: httpx.Client, expected: list[float], frame: dict[str, Any]
) -> None:
    assert ask(client, json.dumps(frame)).json() == {"predictions": expected}


def test_a_frame_with_a_missing_value_is_predicted(
    client: httpx.Client, expected: list[float]
) -> None:
    with_floats = [{**ROWS[0], "seats": float(ROWS[0]["seats"])}, {**ROWS[1], "seats": math.nan}]

    body = json.dumps({"dataframe_records": with_floats})

    assert ask(client, body).json() == {"predictions": expected}


@pytest.mark.parametrize("media_type", ["text/csv", "text/csv; charset=utf-8", "Text/CSV"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_csv_is_predicted(
    client: httpx.Client, expected: list[float], media_type: str, mark: str
) -> None:
    with_floats = [{**ROWS[0], "seats": float(ROWS[0]["seats"])}, ROWS[1]]

    body = (mark + as_csv(*with_floats)).encode()

    assert ask(client, body, media_type).json() == {"predictions": expected}


def test_a_body_without_a_type_is_json(client: httpx.Client, expected: list[float]) -> None:
    body = json.dumps({"instances": ROWS})

    assert client.post("/invocations", content=body).json() == {"predictions": expected}


def test_the_service_is_healthy_and_tells_its_protocol(client: httpx.Client) -> None:
    for path in ("/ping", "/health"):
        assert client.get(path).status_code == 200
    assert client.get("/version").text == "2.0.0"


def assert_refused(response: httpx.Response, status: int, said: str) -> None:
    assert response.status_code == status
    assert response.json().keys() == {"error_code", "message"}
    assert response.json()["error_code"] == "BAD_REQUEST"
    assert said in response.json()["message"]


def split(**changes: Any) -> dict[str, Any]:
    return {"dataframe_split": {**SPLIT, **changes}}


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ({"dataframe_records": [ROW, {**ROW, "wind_speed": -1}]}, "Row 1, wind_speed"),
        ({"dataframe_records": [{**ROW, "distance": math.nan}]}, "Row 0, distance"),
        ({"dataframe_records": [{**ROW, "distance": math.inf}]}, "Row 0, distance"),
        ({"dataframe_records": {}}, "at least 1"),
        ({"dataframe_records": 5}, "Expected `array`"),
        (split(data=[list(ROW.values())[:-1]]), f"Row 0: Input should have {len(ROW)} values"),
        (split(data=[[*ROW.values(), 1]]), f"Row 0: Input should have {len(ROW)} values"),
        (split(data=[1]), "Expected `array`"),
        (split(data=[]), "at least 1"),
        (split(columns=["carrier"] * len(ROW)), "same name"),
        (split(columns=[*list(ROW)[:-1], "invented"]), "invented: There is no such feature"),
        (split(columns=list(range(len(ROW)))), "Expected `str`"),
        (split(columns=[], data=[[]] * 100_000), "1000 rows at most"),
        ({"dataframe_split": {}}, "columns"),
        ({"dataframe_split": []}, "Expected `object`"),
        ({"inputs": {"carrier": ["UA"], "origin": []}}, "differ in length"),
        ({"inputs": {"carrier": "UA"}}, "carrier: Input should be a list"),
        ({"instances": [[1, 2]]}, "Row 0"),
        ({"instances": ROWS, "inputs": ROWS}, "exactly one of"),
        ({"columns": [], "data": []}, "exactly one of"),
        ({}, "exactly one of"),
        ([], "exactly one of"),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_a_bad_frame_is_refused(client: httpx.Client, frame: Any, said: str) -> None:
    assert_refused(ask(client, json.dumps(frame)), 400, said)


def line(**changes: Any) -> str:
    return as_csv(ROW, {**ROW, **changes})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (line(wind_speed="-1"), "Row 1, wind_speed: Input should be greater"),
        (line(wind_speed="fast"), "Row 1, wind_speed: Input should be a valid number"),
        (line(wind_speed="1_0"), "Row 1, wind_speed: Input should be a valid number"),
        (line(wind_speed="inf"), "Row 1, wind_speed: Input should be a finite number"),
        (line(weekday="5.5"), "Row 1, weekday: Input should be a valid integer"),
        (line(distance=""), "Row 1, distance"),
        (line(carrier=""), "Row 1, carrier"),
        (line() + "1,2\n", f"Row 2: Input should have {len(ROW)} values, one per column, not 2"),
        ("\n".join(line().splitlines()[1:]), "A column is no feature"),
        ("," + line().replace("\n", "\n0,"), "A column is no feature"),
        ("carrier,carrier\nUA,UA\n", "same name"),
        ("carrier\n" + "UA\n" * 100_000, "1000 rows at most"),
        (",".join(ROW), "at least 1"),
        ("", "at least 1"),
        ('carrier\n"UA', "not CSV"),
        ('carrier\n"UA"x', "not CSV"),
        ("carrier\n\x00", "Row 0, carrier"),
        ("x" * 200_000, "not CSV"),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_bad_csv_is_refused(client: httpx.Client, text: str, said: str) -> None:
    assert_refused(ask(client, text, "text/csv"), 400, said)


def test_csv_that_is_not_utf8_is_refused(client: httpx.Client) -> None:
    assert_refused(ask(client, b"carrier\n\xff\xfe", "text/csv"), 400, "not CSV")


@pytest.mark.parametrize("media_type", ["application/x-npy", "text/plain", "application/jsonl"])
def test_another_media_type_is_refused(client: httpx.Client, media_type: str) -> None:
    assert_refused(ask(client, json.dumps({"instances": ROWS}), media_type), 415, "text/csv")
