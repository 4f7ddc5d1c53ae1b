"""What holds for every protocol."""

import asyncio
import io
import json
import struct
from codecs import BOM_UTF8
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.flights import CONTRACT
from chassis.rows import ROW
from chassis.serving.protocols.conftest import Post, start_application
from ml_chassis.contract import Rows
from ml_chassis.serving.arrow_reader import ARROW
from ml_chassis.serving.champion import load
from ml_chassis.serving.messages import RefusedError
from ml_chassis.serving.protocols.exchange import Write, answer_with
from ml_chassis.serving.runtime import Runtime
from ml_chassis.settings import Settings
from ml_chassis.testing import Trained, start_service
from waiting import wait_for

CATEGORICAL = CONTRACT.categorical
to_row = CONTRACT.to_row


class Request(NamedTuple):
    """A valid request of a protocol."""

    path: str
    body: bytes
    headers: dict[str, str]


def tensors(binary: bool) -> Request:
    """Return the example in the Open Inference Protocol, its texts in JSON or behind it."""
    inputs: list[dict[str, Any]] = []
    data = b""
    for name, value in ROW.items():
        text = name in CATEGORICAL
        inputs.append({"name": name, "shape": [1], "datatype": "BYTES" if text else "FP64"})
        if binary:
            raw = (
                struct.pack("<I", len(value)) + value.encode() if text else struct.pack("<d", value)
            )
            inputs[-1]["parameters"] = {"binary_data_size": len(raw)}
            data += raw
        else:
            inputs[-1]["data"] = [value]
    head = json.dumps({"inputs": inputs}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if binary else {}
    return Request("/v2/models/model/infer", head + data, headers)


def in_json(path: str, content: Any) -> Request:
    return Request(path, json.dumps(content).encode(), {"Content-Type": "application/json"})


def arrow() -> Request:
    """Return the example as an Arrow stream."""
    stream = io.BytesIO()
    pl.DataFrame([ROW]).write_ipc_stream(stream)
    return Request("/predict", stream.getvalue(), {"Content-Type": ARROW})


CSV = ",".join(ROW) + "\n" + ",".join(map(str, ROW.values()))
SPLIT = {"columns": list(ROW), "data": [list(ROW.values())]}
REQUESTS = {
    "predict": in_json("/predict", {"rows": [ROW]}),
    "predict, arrow": arrow(),
    "open inference, json": tensors(binary=False),
    "open inference, binary": tensors(binary=True),
    "tensorflow, rows": in_json("/v1/models/model:predict", {"instances": [ROW]}),
    "tensorflow, columns": in_json(
        "/v1/models/model:predict", {"inputs": {name: [value] for name, value in ROW.items()}}
    ),
    "torchserve": in_json("/predictions/model", [ROW]),
    "mlflow, records": in_json("/invocations", {"dataframe_records": [ROW]}),
    "mlflow, split": in_json("/invocations", {"dataframe_split": SPLIT}),
    "mlflow, csv": Request("/invocations", CSV.encode(), {"Content-Type": "text/csv"}),
}
BODIES = st.sampled_from(list(REQUESTS.values()))


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_the_example_is_predicted(post: Post, request_: Request) -> None:
    post(*request_).raise_for_status()


@pytest.mark.parametrize("name", sorted(REQUESTS.keys() - {"predict, arrow"}))
def test_a_byte_order_mark_before_text_is_no_part_of_it(post: Post, name: str) -> None:
    path, body, headers = REQUESTS[name]
    if head := headers.get("Inference-Header-Content-Length"):
        headers = {"Inference-Header-Content-Length": str(int(head) + len(BOM_UTF8))}

    post(path, BOM_UTF8 + body, headers).raise_for_status()

    assert 400 <= post(path, BOM_UTF8 + BOM_UTF8 + body, headers).status_code < 500


def json_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(REQUESTS[name].body)
    return found


NULLS: dict[str, Any] = {
    "open inference, json": {"id": None, "parameters": None, "outputs": None},
    "tensorflow, rows": {"signature_name": None, "inputs": None},
    "tensorflow, columns": {"signature_name": None, "instances": None},
    "mlflow, records": {"inputs": None, "params": None},
    "mlflow, split": {"dataframe_records": None},
}


@pytest.mark.parametrize("name", NULLS)
def test_an_optional_member_that_is_null_is_as_if_left_out(post: Post, name: str) -> None:
    valid = REQUESTS[name]
    content = {**json_of(name), **NULLS[name]}

    post(valid.path, json.dumps(content).encode(), valid.headers).raise_for_status()


@pytest.mark.parametrize(
    "parameters",
    [None, {}, {"unknown": {"nested": [1, None]}, "null": None, "binary_data_size": None}],
)
def test_parameters_that_nobody_knows_are_not_read(post: Post, parameters: Any) -> None:
    valid, content = REQUESTS["open inference, json"], json_of("open inference, json")
    for each in content["inputs"]:
        each["parameters"] = parameters
    outputs = [{"name": CONTRACT.output, "parameters": parameters}]
    content |= {"outputs": outputs, "parameters": parameters}

    post(valid.path, json.dumps(content).encode(), valid.headers).raise_for_status()


@settings(max_examples=500)
@given(BODIES, st.binary(max_size=300))
def test_bytes_that_are_no_request_are_refused(post: Post, valid: Request, body: bytes) -> None:
    assert 400 <= post(valid.path, body, valid.headers).status_code < 500


@settings(max_examples=1_000)
@given(BODIES, st.data())
def test_a_request_with_other_bytes_is_answered_or_refused(
    post: Post, valid: Request, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(valid.body)))
    end = data.draw(st.integers(start, min(start + 20, len(valid.body))))
    body = valid.body[:start] + data.draw(st.binary(max_size=20)) + valid.body[end:]

    assert post(valid.path, body, valid.headers).status_code < 500


HOSTILE = st.one_of(
    st.sampled_from([None, True, -1, 0, 2**31, 2**63, 10**30, 10**400, 1e308, -0.0, "", "x" * 999]),
    st.sampled_from([[], {}, [[]], [{}], {"": []}, [None], [[1], [2]], {"b64": "AA=="}]),
    st.floats(),
    st.text(max_size=5),
)


def replaced(value: Any, data: st.DataObject) -> Any:
    """Return a JSON value with something else in one place of it."""
    if isinstance(value, dict | list) and value and data.draw(st.integers(0, 5)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = data.draw(st.sampled_from(keys))
        changed = value.copy()
        changed[key] = replaced(value[key], data)
        return changed
    return data.draw(HOSTILE)


@settings(max_examples=1_000)
@given(
    st.sampled_from(
        [
            each
            for name, each in REQUESTS.items()
            if name.split()[-1] not in {"binary", "csv", "arrow"}
        ]
    ),
    st.data(),
)
def test_a_request_with_another_value_is_answered_or_refused(
    post: Post, valid: Request, data: st.DataObject
) -> None:
    body = json.dumps(replaced(json.loads(valid.body), data)).encode()

    assert post(valid.path, body, valid.headers).status_code < 500


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"instances":' * 50_000, b'{"inputs":[' * 50_000, b"," * 1_000_000],
    ids=lambda body: str(body[:12]),
)
def test_a_body_that_is_deep_or_long_is_refused(post: Post, request_: Request, body: bytes) -> None:
    response = post(request_.path, body, request_.headers)

    assert 400 <= response.status_code < 500


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_body_that_is_too_long_is_refused_in_the_words_of_the_protocol(
    post: Post, request_: Request
) -> None:
    response = post(request_.path, b" " * (Settings().max_body_bytes + 1), request_.headers)

    assert response.status_code == 413
    assert "bytes at most" in (response.json().get("error") or response.json()["message"])


@pytest.mark.parametrize("path", sorted({request.path for request in REQUESTS.values()}))
def test_another_method_is_refused_in_the_words_of_the_protocol(
    client: httpx.Client, path: str
) -> None:
    allowed = "POST, PUT" if path.startswith("/predictions") else "POST"
    for method in ("GET", "DELETE", "OPTIONS"):
        response = client.request(method, path)

        assert (response.status_code, response.headers["allow"]) == (405, allowed)
        assert "Ask with POST" in (response.json().get("error") or response.json()["message"])


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_the_fallback_says_that_it_answered(trained: Trained, request_: Request) -> None:
    model = replace(load(CONTRACT, trained.models, "champion"), predictor=None)
    with start_application(trained, model) as post:
        response = post(*request_)

    assert response.raise_for_status().headers["degraded"] == "no_model"


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_without_an_answer_the_protocol_is_kept(trained: Trained, request_: Request) -> None:
    model = replace(load(CONTRACT, trained.models, "champion"), predictor=None, fallback=None)
    with start_application(trained, model) as post:
        response = post(*request_)

    assert response.status_code == 503
    assert response.headers["retry-after"]
    assert "no answer" in (response.json().get("error") or response.json()["message"])


@pytest.mark.parametrize("name", ["late-flights", "Model.2"])
def test_the_model_may_have_another_name(trained: Trained, name: str) -> None:
    with start_application(trained, model_name=name) as post:
        for path, body, headers in REQUESTS.values():
            renamed = path.replace("/model", f"/{name}").replace(f"/{name}s/", "/models/")
            post(renamed, body, headers).raise_for_status()
            if renamed != path:
                assert post(path, body, headers).status_code == 404


@pytest.mark.parametrize("name", ["", "a/b", "a b", "../x", "{name}", "a:b"])
def test_a_name_that_fits_in_no_path_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="model_name"):
        Settings(model_name=name)


def test_a_pinned_version_is_not_answered_by_the_next_one(trained: Trained) -> None:
    runtime = Runtime(CONTRACT, Settings(models_dir=trained.models))
    model = load(CONTRACT, trained.models, "champion")
    runtime.scorer.use(model)

    def read(_: Any, __: bytes) -> tuple[Rows, Write]:
        runtime.scorer.use(replace(model, version="next"))
        return [to_row(ROW)], lambda scored: pytest.fail(scored.version)

    scope = {"path_params": {"name": "model", "version": model.version}, "headers": []}

    with pytest.raises(RefusedError, match="next is"):
        asyncio.run(answer_with(runtime, read)(scope, b""))  # type: ignore[arg-type]


def test_requests_are_counted_by_the_template_of_their_path(client: httpx.Client) -> None:
    version = client.get("/").json()["model_version"]
    for path, body, headers in REQUESTS.values():
        client.post(path, content=body, headers=headers).raise_for_status()
    client.post(f"/predictions/model/{version}", json=ROW).raise_for_status()
    client.post("/predictions/unheard/of", json=ROW)
    client.get("/v2/models/unheard")

    metrics = client.get("/metrics").text

    for route in (
        "/v2/models/{name}/infer",
        "/v1/models/{name}:predict",
        "/predictions/{name}",
        "/predictions/{name}/{version}",
        "/invocations",
    ):
        assert (
            f'model_service_requests_total{{route="{route}",status="200",track="stable"}}'
            in metrics
        )
    assert "unheard" not in metrics


PROBES = {
    "/readyz": 503,
    "/v2/health/ready": 503,
    "/v2/models/model/ready": 503,
    "/v1/models/model": 503,
    "/ping": 503,
    "/health": 503,
    "/livez": 200,
    "/v2/health/live": 200,
}


@pytest.mark.slow
def test_a_service_that_stops_is_not_ready_in_any_protocol(
    trained: Trained, tmp_path: Path
) -> None:
    service = start_service(trained.models, tmp_path, MODEL_SERVICE_DRAIN_SECONDS="3")
    with httpx.Client(base_url=service.url) as client:
        assert {path: client.get(path).status_code for path in PROBES} == dict.fromkeys(PROBES, 200)
        service.process.terminate()
        wait_for(lambda: client.get("/readyz").status_code == 503)
        assert {path: client.get(path).status_code for path in PROBES} == PROBES
    assert service.process.wait(timeout=30) == 0
