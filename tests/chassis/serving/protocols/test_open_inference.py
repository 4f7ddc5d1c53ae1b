"""Triton's own client, unchanged, and the protocol as other clients write it."""

import json
import math
import re
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from chassis.flights import CONTRACT
from chassis.rows import BEYOND, COLUMNS, NUMBER, OPTIONAL, ROW, ROWS, TEXT, WHOLE, flat, needs
from chassis.serving.protocols.conftest import ask_for
from ml_chassis.contract import Prediction
from ml_chassis.testing import Service, Trained

CATEGORICAL = CONTRACT.categorical
FEATURES = CONTRACT.features
OUTPUT = CONTRACT.output
WIDTH = CONTRACT.width

INFER = "/v2/models/model/infer"
DATATYPES = {"string": "BYTES", "integer": "INT64", "number": "FP32", "boolean": "BOOL"}


@pytest.fixture
def triton_client(service: Service) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(service.url.removeprefix("http://")) as connected:
        yield connected


def inputs(
    rows: list[dict[str, Any]], datatype: str = "FP32", binary: bool = True, two: bool = False
) -> list[triton.InferInput]:
    """Return rows as Triton's client takes them."""
    made = []
    for column in FEATURES:
        values = [row[column.name] for row in rows]
        kind = "BYTES" if column.name in CATEGORICAL else datatype
        dtype: Any = {"BYTES": np.object_, "FP32": np.float32, "FP64": np.float64}[kind]
        array = np.array(values, dtype).reshape((-1, 1) if two else (-1,))
        made.append(triton.InferInput(column.name, array.shape, kind))
        made[-1].set_data_from_numpy(array, binary_data=binary)
    return made


def outputs(binary: bool | None) -> list[triton.InferRequestedOutput] | None:
    if binary is None:
        return None
    return [triton.InferRequestedOutput(OUTPUT, binary_data=binary)]


def test_tritons_client_finds_the_service_alive_and_ready(
    triton_client: triton.InferenceServerClient, trained: Trained
) -> None:
    assert triton_client.is_server_live()
    assert triton_client.is_server_ready()
    assert triton_client.is_model_ready("model")
    assert triton_client.is_model_ready("model", trained.manifest.version)
    assert not triton_client.is_model_ready("other")
    assert not triton_client.is_model_ready("model", "1")


def test_tritons_client_reads_the_contract(
    triton_client: triton.InferenceServerClient, trained: Trained
) -> None:
    assert "binary_tensor_data" in triton_client.get_server_metadata()["extensions"]
    for version in ("", trained.manifest.version):
        model = triton_client.get_model_metadata("model", version)
        assert model["versions"] == [trained.manifest.version]
        assert model["outputs"] == [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, *WIDTH]}]
        described = {each["name"]: each for each in model["inputs"]}
        assert described.keys() == ROW.keys()
        for name, column in COLUMNS.items():
            assert described[name]["datatype"] == DATATYPES[column.type]
            assert described[name]["parameters"]["optional"] is column.nullable


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("two", [True, False], ids=["[rows, 1]", "[rows]"])
def test_tritons_client_predicts(
    triton_client: triton.InferenceServerClient,
    trained: Trained,
    expected: list[Prediction],
    datatype: str,
    binary_in: bool,
    binary_out: bool | None,
    two: bool,
) -> None:
    answer = triton_client.infer(
        "model", inputs(ROWS, datatype, binary_in, two), outputs=outputs(binary_out), request_id="7"
    )

    assert answer.as_numpy(OUTPUT).dtype == np.float32
    assert answer.as_numpy(OUTPUT).shape == (len(ROWS), *WIDTH)
    assert flat(answer.as_numpy(OUTPUT)) == pytest.approx(flat(expected))
    assert answer.get_response()["id"] == "7"
    assert answer.get_response()["model_version"] == trained.manifest.version


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_tritons_client_may_compress(
    triton_client: triton.InferenceServerClient, expected: list[Prediction], compression: str
) -> None:
    answer = triton_client.infer("model", inputs(ROWS), request_compression_algorithm=compression)

    assert flat(answer.as_numpy(OUTPUT)) == pytest.approx(flat(expected))


def test_a_version_may_be_named_and_another_is_not_answered(
    triton_client: triton.InferenceServerClient, trained: Trained, expected: list[Prediction]
) -> None:
    answer = triton_client.infer("model", inputs(ROWS), model_version=trained.manifest.version)
    assert flat(answer.as_numpy(OUTPUT)) == pytest.approx(flat(expected))

    for name, version in (("model", "1"), ("other", ""), ("other", trained.manifest.version)):
        with pytest.raises(triton.InferenceServerException, match=r"\[404\]"):
            triton_client.infer(name, inputs(ROWS), model_version=version)


@needs(NUMBER)
def test_tritons_client_is_told_the_row_and_the_field(
    triton_client: triton.InferenceServerClient,
) -> None:
    rows = [ROW, BEYOND.row]

    with pytest.raises(triton.InferenceServerException, match=f"Row 1, {BEYOND.field}: Input"):
        triton_client.infer("model", inputs(rows))


@needs(OPTIONAL)
def test_what_may_be_missing_may_be_left_out(
    client: httpx.Client, triton_client: triton.InferenceServerClient
) -> None:
    row = {**ROW, OPTIONAL: None}
    expected = ask_for(client, [row])
    without = [tensor for tensor in inputs([row]) if tensor.name() != OPTIONAL]

    for given in (inputs([row]), without):
        answer = triton_client.infer("model", given)
        assert flat(answer.as_numpy(OUTPUT)) == pytest.approx(flat(expected))


def tensor(name: str, datatype: str, shape: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, **more}


def one_row(changed: dict[str, dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return the example as a request; `changed` replaces tensors."""
    tensors = {
        name: tensor(name, "BYTES" if name in CATEGORICAL else "FP64", [1], data=[value])
        for name, value in ROW.items()
    }
    return {"inputs": [*{**tensors, **(changed or {})}.values()]}


@needs(WHOLE)
@pytest.mark.parametrize(
    "given",
    [
        tensor(WHOLE, "INT64", [1], data=[ROW.get(WHOLE)]),
        tensor(WHOLE, "INT32", [1, 1], data=[[ROW.get(WHOLE)]]),
        tensor(WHOLE, "FP32", [1, 1], data=[ROW.get(WHOLE)]),
        tensor(WHOLE, "FP64", [1], data=[ROW.get(WHOLE)], parameters={"content_type": "np"}),
    ],
    ids=str,
)
def test_the_ways_to_write_a_number(client: httpx.Client, given: dict[str, Any]) -> None:
    known = ask_for(client, [ROW])

    answer = client.post(INFER, json=one_row({WHOLE: given})).raise_for_status().json()

    assert answer["outputs"][0]["data"] == pytest.approx(flat(known))


@needs(OPTIONAL)
@pytest.mark.parametrize("text", ["null", "NaN"])
def test_the_ways_to_write_a_missing_number(client: httpx.Client, text: str) -> None:
    known = ask_for(client, [{**ROW, OPTIONAL: None}])
    body = json.dumps(one_row({OPTIONAL: tensor(OPTIONAL, "FP32", [1], data=[math.nan])}))

    answer = client.post(INFER, content=body.replace("NaN", text)).raise_for_status().json()

    assert answer["outputs"][0]["data"] == pytest.approx(flat(known))


def number(datatype: str, shape: Any, **more: Any) -> dict[str, Any]:
    return one_row({NUMBER: tensor(NUMBER, datatype, shape, **more)})


def sized(datatype: str, shape: Any, size: Any) -> dict[str, Any]:
    return number(datatype, shape, parameters={"binary_data_size": size})


def text(datatype: str, *values: Any) -> dict[str, Any]:
    return one_row({TEXT: tensor(TEXT, datatype, [1], data=values)})


@needs(NUMBER)
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (number("INT16", [1], data=[1]), f"{NUMBER}: The datatype"),
        (number("INT64", [1], data=[1.0]), f"{NUMBER}: Input should be of type INT64"),
        (number("INT64", [1], data=[True]), f"{NUMBER}: Input should be of type INT64"),
        (number("INT64", [1], data=[None]), f"{NUMBER}: Input should be of type INT64"),
        (number("INT32", [1], data=[2**31]), f"{NUMBER}: A number is too large"),
        (number("FP32", [1], data=[10**400]), f"{NUMBER}: A number is too large"),
        (number("FP32", [1], data=[1e300]), f"Row 0, {NUMBER}"),
        (number("BOOL", [1], data=[True]), f"{NUMBER}: Input should be of type"),
        (number("BYTES", [1], data=["1"]), f"{NUMBER}: Input should be of type"),
        (
            one_row({BEYOND.field: tensor(BEYOND.field, "FP64", [1], data=[BEYOND.value])}),
            f"Row 0, {BEYOND.field}: Input",
        ),
        (number("FP32", [1], data=[]), f"{NUMBER}: The shape says 1 values, not 0"),
        (number("FP32", [2], data=[1, 2]), f"{NUMBER}: Send 1 values"),
        (number("FP32", [1, 2], data=[1, 2]), f"{NUMBER}: The shape should be"),
        (number("FP32", [], data=[1]), f"{NUMBER}: The shape should be"),
        (number("FP32", [-1], data=[1]), f"{NUMBER}: The shape should be"),
        (number("FP32", [2**62], data=[1]), f"{NUMBER}: The shape says"),
        (number("FP32", [10**30, 1], data=[]), f"{NUMBER}: The shape says"),
        (number("FP32", [1.5], data=[1]), "Expected `int`"),
        (number("FP32", [1], data=[[[1]]]), f"{NUMBER}: Input should be of type FP32"),
        (number("FP32", [1], data=[{}]), f"{NUMBER}: Input should be of type FP32"),
        (number("FP32", [1], data={"a": 1}), "Expected `array"),
        (number("FP32", [1]), f"{NUMBER}: There is neither data"),
        (sized("FP32", [1], 4), f"{NUMBER}: binary_data_size is more"),
        (sized("FP32", [1], -4), f"{NUMBER}: binary_data_size should be"),
        (sized("FP32", [1], 2**62), f"{NUMBER}: binary_data_size is more"),
        (sized("FP32", [2**62], 0), f"{NUMBER}: .* are not 0 bytes"),
        (sized("FP32", [1], True), f"{NUMBER}: binary_data_size should be"),
        (sized("FP32", [1], "4"), f"{NUMBER}: binary_data_size should be"),
        (number("FP32", [1], data=[1], parameters={"shared_memory_region": "r"}), "not supported"),
        (one_row({"": tensor(NUMBER, "FP32", [1], data=[1])}), f"{NUMBER}: There is more than one"),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_a_bad_number_is_refused(client: httpx.Client, body: Any, said: str) -> None:
    assert_refused(client.post(INFER, json=body), said)


@needs(TEXT)
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (text("FP32", 1), "Input should be text"),
        (text("BYTES", 1), "Input should be text"),
        (text("BYTES", "x" * 999), "Row 0, "),
    ],
)
def test_a_bad_text_is_refused(client: httpx.Client, body: Any, said: str) -> None:
    assert_refused(client.post(INFER, json=body), said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            one_row({"more": tensor("more", "FP32", [1], data=[1])}),
            "more: There is no such feature",
        ),
        ({"inputs": []}, "length >= 1"),
        ({}, "inputs"),
        ([], "Expected `object`"),
        ({"inputs": [1]}, "Expected `object`"),
        ({**one_row(), "outputs": [{"name": "other"}]}, f"only output is {OUTPUT}"),
        (
            {
                **one_row(),
                "outputs": [{"name": OUTPUT, "parameters": {"classification": 1}}],
            },
            "not supported",
        ),
        ({**one_row(), "id": 5}, r"Expected `str \| null`"),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_a_bad_request_is_refused(client: httpx.Client, body: Any, said: str) -> None:
    assert_refused(client.post(INFER, json=body), said)


def assert_refused(response: httpx.Response, said: str) -> None:
    assert response.status_code == 400
    assert response.json().keys() == {"error"}
    assert re.search(said, response.json()["error"])


def binary(texts: bytes, size: int | None = None, rows: int = 1) -> tuple[bytes, bytes]:
    """Return a request whose texts are binary data, as its JSON and what follows it."""
    parameters = {"binary_data_size": len(texts) if size is None else size}
    request = one_row({TEXT: tensor(TEXT, "BYTES", [rows], parameters=parameters)})
    return json.dumps(request).encode(), texts


KNOWN = str(ROW.get(TEXT, "")).encode()
GOOD = struct.pack("<I", len(KNOWN)) + KNOWN


def post_binary(client: httpx.Client, head: bytes, data: bytes, length: str) -> httpx.Response:
    headers = {"Inference-Header-Content-Length": length}
    return client.post(INFER, content=head + data, headers=headers)


@needs(TEXT)
def test_binary_data_follow_the_json(client: httpx.Client) -> None:
    head, data = binary(GOOD)

    post_binary(client, head, data, str(len(head))).raise_for_status()


@needs(TEXT)
@pytest.mark.parametrize(
    ("texts", "size", "rows", "said"),
    [
        (GOOD, len(GOOD) - 1, 1, "The last text is shorter"),
        (GOOD, 3, 1, "The texts are not UTF-8"),
        (GOOD + b"x", None, 1, "The texts are not UTF-8"),
        (GOOD + b"x", len(GOOD), 1, "1 bytes belong to no tensor"),
        (GOOD, len(GOOD) + 1, 1, "binary_data_size is more"),
        (GOOD, None, 2, "The shape says 2 values"),
        (GOOD + GOOD, None, 2, "Send 1 values"),
        (b"", None, 1, "The shape says 1 values"),
        (struct.pack("<I", 2**32 - 1) + b"ab", None, 1, "The last text is shorter"),
        (struct.pack("<I", 2) + b"\xff\xfe", None, 1, "The texts are not UTF-8"),
        (struct.pack("<I", 0) * 1_000, None, 1_000, TEXT),
    ],
)
def test_binary_data_that_lie_are_refused(
    client: httpx.Client, texts: bytes, size: int | None, rows: int, said: str
) -> None:
    head, data = binary(texts, size, rows)

    response = post_binary(client, head, data, str(len(head)))

    assert response.status_code == 400
    assert said in response.json()["error"]


@needs(TEXT)
@pytest.mark.parametrize("length", ["0", "1", "-1", "1e3", "999999999", "9" * 5_000, "x", ""])
def test_a_length_that_lies_is_refused(client: httpx.Client, length: str) -> None:
    response = post_binary(client, *binary(GOOD), length)

    assert response.status_code == 400
    assert response.json().keys() == {"error"}
