"""MLflow's scoring server and SageMaker's containers, as their clients ask them."""

import csv
import io
import json
import math
from typing import Any

import httpx
import pytest

from chassis.rows import (
    BEYOND,
    COLUMNS,
    FIRST,
    NUMBER,
    REQUIRED,
    ROW,
    ROWS,
    WHOLE,
    WRONG,
    Wrong,
    needs,
)
from ml_chassis.contract import Prediction

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
    client: httpx.Client, expected: list[Prediction], frame: dict[str, Any]
) -> None:
    assert ask(client, json.dumps(frame)).json() == {"predictions": expected}


def as_in_a_frame(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as pandas keeps it where a column has missing values."""
    numbers = {name for name in ROW if COLUMNS[name].type in {"integer", "number"}}
    return {
        name: (math.nan if value is None else float(value)) if name in numbers else value
        for name, value in row.items()
    }


def test_a_frame_with_missing_values_is_predicted(
    client: httpx.Client, expected: list[Prediction]
) -> None:
    body = json.dumps({"dataframe_records": [as_in_a_frame(row) for row in ROWS]})

    assert ask(client, body).json() == {"predictions": expected}


@pytest.mark.parametrize("media_type", ["text/csv", "text/csv; charset=utf-8", "Text/CSV"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_csv_is_predicted(
    client: httpx.Client, expected: list[Prediction], media_type: str, mark: str
) -> None:
    whole = {WHOLE: float(ROW[WHOLE])} if WHOLE else {}

    body = (mark + as_csv({**ROW, **whole}, ROWS[1])).encode()

    assert ask(client, body, media_type).json() == {"predictions": expected}


def test_a_body_without_a_type_is_json(client: httpx.Client, expected: list[Prediction]) -> None:
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
        ({"dataframe_records": [ROW, BEYOND.row]}, f"Row 1, {BEYOND.field}"),
        pytest.param(
            {"dataframe_records": [{**ROW, REQUIRED: math.nan}]},
            f"Row 0, {REQUIRED}",
            marks=needs(REQUIRED),
        ),
        pytest.param(
            {"dataframe_records": [{**ROW, NUMBER: math.inf}]},
            f"Row 0, {NUMBER}",
            marks=needs(NUMBER),
        ),
        ({"dataframe_records": {}}, "at least 1"),
        ({"dataframe_records": 5}, "Expected `array`"),
        (split(data=[list(ROW.values())[:-1]]), f"Row 0: Input should have {len(ROW)} values"),
        (split(data=[[*ROW.values(), 1]]), f"Row 0: Input should have {len(ROW)} values"),
        (split(data=[1]), "Expected `array`"),
        (split(data=[]), "at least 1"),
        (split(columns=[FIRST] * len(ROW)), "same name"),
        (split(columns=[*list(ROW)[:-1], "invented"]), "invented: There is no such feature"),
        (split(columns=list(range(len(ROW)))), "Expected `str`"),
        (split(columns=[], data=[[]] * 100_000), "1000 rows at most"),
        ({"dataframe_split": {}}, "columns"),
        ({"dataframe_split": []}, "Expected `object`"),
        ({"inputs": {FIRST: [ROW[FIRST]], "invented": []}}, "differ in length"),
        ({"inputs": {FIRST: ROW[FIRST]}}, f"{FIRST}: Input should be a list"),
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


@pytest.mark.parametrize(
    "wrong", [each for each in WRONG if each.of_its_type], ids=lambda each: str(each[:2])
)
def test_a_bad_value_in_csv_is_refused_by_row_and_field(client: httpx.Client, wrong: Wrong) -> None:
    said = f"Row 1, {wrong.field}: "

    assert_refused(ask(client, as_csv(ROW, wrong.row), "text/csv"), 400, said)


def line(name: str = FIRST, value: Any = ROW[FIRST]) -> str:
    return as_csv(ROW, {**ROW, name: value})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(line(NUMBER, "fast"), f"Row 1, {NUMBER}: Input", marks=needs(NUMBER)),
        pytest.param(line(NUMBER, "1_0"), f"Row 1, {NUMBER}: Input", marks=needs(NUMBER)),
        pytest.param(line(NUMBER, "inf"), f"Row 1, {NUMBER}: Input", marks=needs(NUMBER)),
        pytest.param(line(REQUIRED, ""), f"Row 1, {REQUIRED}", marks=needs(REQUIRED)),
        (line() + "1,2\n", f"Row 2: Input should have {len(ROW)} values, one per column, not 2"),
        ("\n".join(line().splitlines()[1:]), "A column is no feature"),
        ("," + line().replace("\n", "\n0,"), "A column is no feature"),
        (f"{FIRST},{FIRST}\nab,ab\n", "same name"),
        (f"{FIRST}\n" + "ab\n" * 100_000, "1000 rows at most"),
        (",".join(ROW), "at least 1"),
        ("", "at least 1"),
        (f'{FIRST}\n"ab', "not CSV"),
        (f'{FIRST}\n"ab"x', "not CSV"),
        (f"{FIRST}\n\x00", f"Row 0, {FIRST}"),
        ("x" * 200_000, "not CSV"),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_bad_csv_is_refused(client: httpx.Client, text: str, said: str) -> None:
    assert_refused(ask(client, text, "text/csv"), 400, said)


def test_csv_that_is_not_utf8_is_refused(client: httpx.Client) -> None:
    assert_refused(ask(client, b"name\n\xff\xfe", "text/csv"), 400, "not CSV")


@pytest.mark.parametrize("media_type", ["application/x-npy", "text/plain", "application/jsonl"])
def test_another_media_type_is_refused(client: httpx.Client, media_type: str) -> None:
    assert_refused(ask(client, json.dumps({"instances": ROWS}), media_type), 415, "text/csv")
