"""Open Inference Protocol, version 2: what KServe, Triton and MLServer speak.

Each feature is an input of its own, of the shape [rows] or [rows, 1]: BYTES for text, FP32, FP64,
INT32, INT64 or BOOL for numbers. A missing value is NaN, a missing text "" ; a feature that may be
missing may be left out. The output, FP32, has the shape [rows], or [rows, classes] where the label
names classes.

https://github.com/kserve/open-inference-protocol, and Triton's extension for binary tensor data.
"""

from typing import Annotated, Any

import msgspec
import numpy as np
from starlette.routing import Route
from starlette.types import Scope

from ...contract import Column, Contract, Rows
from ..decode import Decoder
from ..describe import Json, Part, media, parameter, predicts, schemas, shown, versions
from ..endpoint import Answer, Endpoint, header
from ..messages import INVALID, RefusedError
from ..runtime import Runtime
from ..scoring import Scored
from .exchange import Write, answer_with, encode, page, read_json, status_of, to_message
from .tensors import DATATYPES, InferInput, read_tensors

MODEL, VERSION = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
BINARY = "application/octet-stream"
LENGTH = b"inference-header-content-length"
UNSUPPORTED = {"classification", "shared_memory_region"}

Parameters = dict[str, bool | int | float | str]
Given = dict[str, Any]
"""Parameters of a request; what is not known of them is not read."""


class RequestedOutput(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: Annotated[
        Given | None, msgspec.Meta(description="binary_data: send the data behind the JSON.")
    ] = None


class InferRequest(msgspec.Struct):
    """Rows to predict, one tensor per feature."""

    inputs: Annotated[list[InferInput], msgspec.Meta(min_length=1)]
    outputs: list[RequestedOutput] | None = None
    id: Annotated[str | None, msgspec.Meta(description="Given back in the answer.")] = None
    parameters: Annotated[
        Given | None,
        msgspec.Meta(description="binary_data_output: send all data behind the JSON."),
    ] = None


class InferOutput(msgspec.Struct, omit_defaults=True):
    """What was predicted, row by row."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: Annotated[list[float] | None, msgspec.Meta(description="In one list.")] = None


class InferResponse(msgspec.Struct, omit_defaults=True):
    """What was predicted."""

    model_name: str
    model_version: str
    outputs: list[InferOutput]
    id: str = ""
    parameters: Annotated[
        Parameters, msgspec.Meta(description="degraded: why the fallback answered.")
    ] = {}


class InferError(msgspec.Struct):
    """Why a request was not answered."""

    error: str


class TensorMetadata(msgspec.Struct, omit_defaults=True):
    """An input or output of the model; -1 is any number of rows."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters = {}


class ModelMetadata(msgspec.Struct):
    """What the model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(msgspec.Struct):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


def endpoints(runtime: Runtime) -> dict[str, Endpoint]:
    """Return what answers requests for predictions, by the template of its path."""
    contract, check = runtime.contract, runtime.tables.check

    def read(scope: Scope, sent: bytes) -> tuple[Rows, Write]:
        text, binary = _split(scope, sent)
        request = to_message(read_json(text), InferRequest)
        as_binary = _wants_binary(contract.output, request)
        columns = read_tensors(contract.by_name, request.inputs, binary)
        name, rows = runtime.settings.model_name, check(columns, runtime.settings.max_rows)
        return rows, lambda scored: _write(contract, name, request, as_binary, scored)

    handler = answer_with(runtime, read)
    paths = (f"{MODEL}/infer", f"{VERSION}/infer")
    return {path: Endpoint(runtime, path, handler, wording) for path in paths}


def pages(runtime: Runtime) -> list[Route]:
    """Return what answers GET."""

    def show_model() -> ModelMetadata:
        name = runtime.settings.model_name
        return metadata(runtime.contract, name, runtime.scorer.model.version)

    def show_ready() -> Json:
        return {"name": runtime.settings.model_name, "ready": runtime.ready}

    server = ServerMetadata("model_service", "1", ["binary_tensor_data"])
    return [
        page(runtime, "/v2", lambda: server, wording),
        page(runtime, "/v2/health/live", lambda: {"live": True}, wording),
        page(
            runtime, "/v2/health/ready", lambda: {"ready": runtime.ready}, wording, readiness=True
        ),
        *(page(runtime, path, show_model, wording) for path in (MODEL, VERSION)),
        *(
            page(runtime, f"{path}/ready", show_ready, wording, readiness=True)
            for path in (MODEL, VERSION)
        ),
    ]


def wording(refused: RefusedError) -> Answer:
    """Return a refusal in the words of the protocol."""
    return Answer(encode(InferError(refused.refusal.text)), status_of(refused))


def metadata(contract: Contract, name: str, version: str) -> ModelMetadata:
    """Return what the model takes and gives."""
    output = TensorMetadata(contract.output, "FP32", [-1, *contract.width])
    inputs = [_describe(column) for column in contract.features]
    return ModelMetadata(name, [version], "onnx_onnxv1", inputs, [output])


def _describe(column: Column) -> TensorMetadata:
    parameters: Parameters = {"description": column.description, "optional": column.nullable}
    return TensorMetadata(column.name, DATATYPES[column.type], [-1], parameters)


def _split(scope: Scope, sent: bytes) -> tuple[bytes, bytes]:
    """Return the JSON and what follows it."""
    length = header(scope, LENGTH)
    if length is None:
        return sent, b""
    if not length.isdigit() or len(length) > len(str(len(sent))) or int(length) > len(sent):
        raise RefusedError(400, "Inference-Header-Content-Length is not a length in the body.")
    return sent[: int(length)], sent[int(length) :]


def _wants_binary(only: str, request: InferRequest) -> bool:
    """Return whether the output is sent as binary data."""
    asked = (request.parameters or {}).get("binary_data_output", False)
    for output in request.outputs or []:
        if output.name != only:
            raise RefusedError(422, f"{INVALID} The only output is {only}.")
        asked = (output.parameters or {}).get("binary_data", asked)
    given = [tensor.parameters for tensor in request.inputs]
    given += [output.parameters for output in request.outputs or []]
    for parameters in given:
        if unsupported := UNSUPPORTED & (parameters or {}).keys():
            raise RefusedError(422, f"{INVALID} {', '.join(unsupported)}: not supported here.")
    return asked is True


def _write(
    contract: Contract, name: str, request: InferRequest, as_binary: bool, scored: Scored
) -> Answer:
    shape = [len(scored.predictions), *contract.width]
    output = InferOutput(contract.output, shape, "FP32")
    answer = InferResponse(name, scored.version, [output], request.id or "")
    if scored.degraded:
        answer.parameters = {"degraded": scored.degraded}
    if not as_binary:
        output.data = np.ravel(scored.predictions).tolist()
        return Answer(encode(answer))
    data = np.array(scored.predictions, "<f4").tobytes()
    output.parameters = {"binary_data_size": len(data)}
    text = encode(answer)
    return Answer(text + data, 200, [(LENGTH, b"%d" % len(text))], BINARY.encode())


def part(decoder: Decoder, name: str) -> Part:
    """Return what the OpenAPI document says of the protocol."""
    live, ready = _flag("live"), _flag("ready")
    server, model = media("ServerMetadata"), media("ModelMetadata")
    paths = {
        "/v2": shown("v2_server", "What the server is.", server),
        "/v2/health/live": shown("v2_live", "The process is alive.", live),
        "/v2/health/ready": shown("v2_ready", "The model answers.", ready, probe=True),
    }
    error = "InferError"
    for path, suffix, pinned in versions(MODEL, VERSION, name):
        shown_model = shown(f"v2_model{suffix}", "Inputs and output.", model, pinned, error=error)
        probed = shown(f"v2_model_ready{suffix}", "It answers.", ready, pinned, True, error)
        predicting = _infer(decoder.contract, f"v2_infer{suffix}", pinned)
        paths |= {path: shown_model, f"{path}/ready": probed, f"{path}/infer": {"post": predicting}}
    messages = (InferRequest, InferResponse, InferError, ModelMetadata, ServerMetadata)
    described = schemas(*messages)
    meaning = f"{decoder.contract.meaning}, per row, in one list."
    described["InferOutput"]["properties"]["data"]["description"] = meaning
    return Part(paths, described)


def _flag(name: str) -> Json:
    properties = {name: {"type": "boolean"}}
    return media({"type": "object", "properties": properties, "required": [name]})


def _infer(contract: Contract, name: str, parameters: list[Json]) -> Json:
    behind = media({"description": "The JSON, and behind it the data of tensors."}, BINARY)
    length = parameter(
        LENGTH.decode(),
        "header",
        "Bytes of the JSON, where data follow it.",
        type="integer",
        minimum=1,
    )
    sent = [media("InferRequest", example=_example(contract)), behind]
    answered = [media("InferResponse"), behind]
    return predicts(name, sent, answered, "InferError", [*parameters, length])


def _example(contract: Contract) -> Json:
    row = contract.example_row()
    return {
        "inputs": [
            {
                "name": column.name,
                "shape": [1],
                "datatype": DATATYPES[column.type],
                "data": [row[column.name]],
            }
            for column in contract.features
        ]
    }
