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

from model_service.contract import CATEGORICAL, FEATURES, example_row
from tests.conftest import Service, Trained
from tests.serving.protocols.conftest import ROWS

INFER = "/v2/models/model/infer"


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
    return [triton.InferRequestedOutput("probability", binary_data=binary)]


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
        assert model["outputs"] == [{"name": "probability", "datatype": "FP32", "shape": [-1]}]
        described = {each["name"]: each for each in model["inputs"]}
        assert described["carrier"]["datatype"] == "BYTES"
        assert described["seats"]["datatype"] == "INT64"
        assert described["seats"]["parameters"]["optional"] is True
        assert described.keys() == example_row().keys()


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("two", [True, False], ids=["[rows, 1]", "[rows]"])
def test_tritons_client_predicts(
    triton_client: triton.InferenceServerClient,
    trained: Trained,
    expected: list[float],
    datatype: str,
    binary_in: bool,
    binary_out: bool | None,
    two: bool,
) -> None:
    answer = triton_client.infer(
        "model", inputs(ROWS, datatype, binary_in, two), outputs=outputs(binary_out), request_id="7"
    )

    assert answer.as_numpy("probability").dtype == np.float32
    assert answer.as_numpy("probability").tolist() == pytest.approx(expected)
    assert answer.get_response()["id"] == "7"
    assert answer.get_response()["model_version"] == trained.manifest.version


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_tritons_client_may_compress(
    triton_client: triton.InferenceServerClient, expected: list[float], compression: str
) -> None:
    answer = triton_client.infer("model", inputs(ROWS), request_compression_algorithm=compression)

    assert answer.as_numpy("probability").tolist() == pytest.approx(expected)


def test_a_version_may_be_named_and_another_is_not_answered(
    triton_client: triton.InferenceServerClient, trained: Trained, expected: list[float]
) -> None:
    answer = triton_client.infer("model", inputs(ROWS), model_version=trained.manifest.version)
    assert answer.as_numpy("probability").tolist() == pytest.approx(expected)

    for name, version in (("model", "1"), ("other", ""), ("other", trained.manifest.version)):
        with pytest.raises(triton.InferenceServerException, match=r"\[404\]"):
            triton_client.infer(name, inputs(ROWS), model_version=version)


def test_tritons_client_is_told_the_row_and_the_field(
    triton_client: triton.InferenceServerClient,
) -> None:
    rows = [example_row(), {**example_row(), "wind_speed": -1}]

    with pytest.raises(triton.InferenceServerException, match=r"Row 1, wind_speed: .* greater"):
        triton_client.infer("model", inputs(rows))


def test_what_may_be_missing_may_be_left_out(
    client: httpx.Client, triton_client: triton.InferenceServerClient
) -> None:
    row = {**example_row(), "wind_gust": None}
    expected = client.post("/predict", json={"rows": [row]}).json()["predictions"]
    without = [tensor for tensor in inputs([row]) if tensor.name() != "wind_gust"]

    for given in (inputs([row]), without):
        answer = triton_client.infer("model", given)
        assert answer.as_numpy("probability").tolist() == pytest.approx(expected)


def tensor(name: str, datatype: str, shape: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, **more}


def one_row(**changed: dict[str, Any]) -> dict[str, Any]:
    """Return the example as a request; `changed` replaces tensors."""
    row = example_row()
    tensors = {
        name: tensor(name, "BYTES" if name in CATEGORICAL else "FP64", [1], data=[value])
        for name, value in row.items()
    }
    return {"inputs": [*{**tensors, **changed}.values()]}


@pytest.mark.parametrize(
    "given",
    [
        tensor("seats", "INT64", [1], data=[149]),
        tensor("seats", "INT32", [1, 1], data=[[149]]),
        tensor("seats", "FP32", [1, 1], data=[149]),
        tensor("seats", "FP64", [1], data=[149.0], parameters={"content_type": "np"}),
    ],
    ids=str,
)
def test_the_ways_to_write_a_number(client: httpx.Client, given: dict[str, Any]) -> None:
    known = client.post("/predict", json={"rows": [example_row()]}).json()["predictions"]

    answer = client.post(INFER, json=one_row(seats=given)).raise_for_status().json()

    assert answer["outputs"][0]["data"] == pytest.approx(known)


@pytest.mark.parametrize("text", ["null", "NaN"])
def test_the_ways_to_write_a_missing_number(client: httpx.Client, text: str) -> None:
    row = {**example_row(), "seats": None}
    known = client.post("/predict", json={"rows": [row]}).json()["predictions"]
    body = json.dumps(one_row(seats=tensor("seats", "FP32", [1], data=[math.nan])))

    answer = client.post(INFER, content=body.replace("NaN", text)).raise_for_status().json()

    assert answer["outputs"][0]["data"] == pytest.approx(known)


def seats(datatype: str, shape: Any, **more: Any) -> dict[str, Any]:
    return one_row(seats=tensor("seats", datatype, shape, **more))


def sized(datatype: str, shape: Any, size: Any) -> dict[str, Any]:
    return seats(datatype, shape, parameters={"binary_data_size": size})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (seats("INT16", [1], data=[149]), "seats: The datatype"),
        (seats("INT64", [1], data=[149.0]), "seats: Input should be of type INT64"),
        (seats("INT64", [1], data=[True]), "seats: Input should be of type INT64"),
        (seats("INT64", [1], data=[None]), "seats: Input should be of type INT64"),
        (seats("INT32", [1], data=[2**31]), "seats: A number is too large"),
        (seats("FP32", [1], data=[10**400]), "seats: A number is too large"),
        (seats("FP32", [1], data=[1e300]), "Row 0, seats"),
        (seats("BOOL", [1], data=[True]), "seats: Input should be of type integer"),
        (seats("BYTES", [1], data=["149"]), "seats: Input should be of type integer"),
        (seats("FP32", [1], data=[149.5]), "Row 0, seats: Input should be a valid integer"),
        (seats("FP32", [1], data=[901]), "Row 0, seats: Input should be less than"),
        (seats("FP32", [1], data=[]), "seats: The shape says 1 values, not 0"),
        (seats("FP32", [2], data=[1, 2]), "seats: Send 1 values"),
        (seats("FP32", [1, 2], data=[1, 2]), "seats: The shape should be"),
        (seats("FP32", [], data=[1]), "seats: The shape should be"),
        (seats("FP32", [-1], data=[1]), "seats: The shape should be"),
        (seats("FP32", [2**62], data=[1]), "seats: The shape says"),
        (seats("FP32", [10**30, 1], data=[]), "seats: The shape says"),
        (seats("FP32", [1.5], data=[1]), "Expected `int`"),
        (seats("FP32", [1], data=[[[1]]]), "seats: Input should be of type FP32"),
        (seats("FP32", [1], data=[{}]), "seats: Input should be of type FP32"),
        (seats("FP32", [1], data={"a": 1}), "Expected `array"),
        (seats("FP32", [1]), "seats: There is neither data"),
        (sized("FP32", [1], 4), "seats: binary_data_size is more"),
        (sized("FP32", [1], -4), "seats: binary_data_size should be"),
        (sized("FP32", [1], 2**62), "seats: binary_data_size is more"),
        (sized("FP32", [2**62], 0), "seats: .* are not 0 bytes"),
        (sized("FP32", [1], True), "seats: binary_data_size should be"),
        (sized("FP32", [1], "4"), "seats: binary_data_size should be"),
        (seats("FP32", [1], data=[1], parameters={"shared_memory_region": "r"}), "not supported"),
        (one_row(more=tensor("more", "FP32", [1], data=[1])), "more: There is no such feature"),
        (one_row(more=tensor("seats", "FP32", [1], data=[1])), "seats: There is more than one"),
        (
            one_row(carrier=tensor("carrier", "FP32", [1], data=[1])),
            "carrier: Input should be text",
        ),
        (
            one_row(carrier=tensor("carrier", "BYTES", [1], data=[1])),
            "carrier: Input should be text",
        ),
        (one_row(carrier=tensor("carrier", "BYTES", [1], data=["ua"])), "Row 0, carrier: String"),
        ({"inputs": []}, "length >= 1"),
        ({}, "inputs"),
        ([], "Expected `object`"),
        ({"inputs": [1]}, "Expected `object`"),
        ({**one_row(), "outputs": [{"name": "other"}]}, "only output is probability"),
        (
            {
                **one_row(),
                "outputs": [{"name": "probability", "parameters": {"classification": 1}}],
            },
            "not supported",
        ),
        ({**one_row(), "id": 5}, "Expected `str`"),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_a_bad_request_is_refused(client: httpx.Client, body: Any, said: str) -> None:
    response = client.post(INFER, json=body)

    assert response.status_code == 400
    assert response.json().keys() == {"error"}
    assert re.search(said, response.json()["error"])


def binary(carrier: bytes, size: int | None = None, rows: int = 1) -> tuple[bytes, bytes]:
    """Return a request whose carriers are binary data, as its JSON and what follows it."""
    parameters = {"binary_data_size": len(carrier) if size is None else size}
    request = one_row(carrier=tensor("carrier", "BYTES", [rows], parameters=parameters))
    return json.dumps(request).encode(), carrier


UA = struct.pack("<I", 2) + b"UA"


def post_binary(client: httpx.Client, text: bytes, data: bytes, length: str) -> httpx.Response:
    headers = {"Inference-Header-Content-Length": length}
    return client.post(INFER, content=text + data, headers=headers)


def test_binary_data_follow_the_json(client: httpx.Client) -> None:
    text, data = binary(UA)

    post_binary(client, text, data, str(len(text))).raise_for_status()


@pytest.mark.parametrize(
    ("carrier", "size", "rows", "said"),
    [
        (UA, 5, 1, "carrier: The last text is shorter"),
        (UA, 3, 1, "carrier: The texts are not UTF-8"),
        (UA + b"x", None, 1, "carrier: The texts are not UTF-8"),
        (UA + b"x", 6, 1, "1 bytes belong to no tensor"),
        (UA, 7, 1, "carrier: binary_data_size is more"),
        (UA, None, 2, "carrier: The shape says 2 values"),
        (UA + UA, None, 2, "Send 1 values"),
        (b"", None, 1, "carrier: The shape says 1 values"),
        (struct.pack("<I", 2**32 - 1) + b"UA", None, 1, "carrier: The last text is shorter"),
        (struct.pack("<I", 2) + b"\xff\xfe", None, 1, "carrier: The texts are not UTF-8"),
        (struct.pack("<I", 0) * 1_000, None, 1_000, "carrier"),
    ],
)
def test_binary_data_that_lie_are_refused(
    client: httpx.Client, carrier: bytes, size: int | None, rows: int, said: str
) -> None:
    text, data = binary(carrier, size, rows)

    response = post_binary(client, text, data, str(len(text)))

    assert response.status_code == 400
    assert said in response.json()["error"]


@pytest.mark.parametrize("length", ["0", "1", "-1", "1e3", "999999999", "9" * 5_000, "x", ""])
def test_a_length_that_lies_is_refused(client: httpx.Client, length: str) -> None:
    response = post_binary(client, *binary(UA), length)

    assert response.status_code == 400
    assert response.json().keys() == {"error"}
