"""TensorFlow Serving's REST interface, which is KServe's first protocol too.

Rows are `instances`, a list of objects, or `inputs`, an object of columns. Versions are integers
there: the date and time in the name of ours, 20260131120000 for 20260131T120000Z-1f2e3d4c.

https://www.tensorflow.org/tfx/serving/api_rest
"""

from typing import Annotated, Any

import msgspec
from starlette.routing import Route
from starlette.types import Scope

from ...contract import Contract, Rows
from ..decode import Decoder
from ..describe import (
    ROWS,
    Json,
    Part,
    any_of,
    columns,
    media,
    predicts,
    schemas,
    shown,
    versions,
)
from ..endpoint import Answer, Endpoint
from ..messages import INVALID, RefusedError
from ..runtime import Runtime
from ..scoring import Scored
from .exchange import (
    Write,
    answer_type,
    answer_with,
    encode,
    page,
    read_json,
    status_of,
    to_message,
    to_rows,
    without_nulls,
)

MODEL, VERSION = "/v1/models/{name}", "/v1/models/{name}/versions/{version}"
SIGNATURE = "serving_default"
FORMATS = {"instances", "inputs"}
TYPES = {
    "number": "DT_FLOAT",
    "integer": "DT_INT64",
    "boolean": "DT_BOOL",
    "string": "DT_STRING",
}


SignatureName = Annotated[str | None, msgspec.Meta(description=f"{SIGNATURE}, or nothing.")]
Instances = Annotated[
    list[Any],
    msgspec.Meta(description="Rows; null and NaN are missing.", extra_json_schema=ROWS),
]
Inputs = Annotated[
    dict[str, Any],
    msgspec.Meta(description="Columns: a list of values by feature."),
]


class RowsBody(msgspec.Struct):
    """Rows to predict."""

    instances: Instances
    signature_name: SignatureName = SIGNATURE


class ColumnsBody(msgspec.Struct):
    """Rows to predict, as columns."""

    inputs: Inputs
    signature_name: SignatureName = SIGNATURE


class PredictError(msgspec.Struct):
    """Why a request was not answered."""

    error: str


def endpoints(runtime: Runtime) -> dict[str, Endpoint]:
    """Return what answers requests for predictions, by the template of its path."""
    check_rows = runtime.decoder.check_rows

    def read(_: Scope, sent: bytes) -> tuple[Rows, Write]:
        body = without_nulls(read_json(sent))
        max_rows = runtime.settings.max_rows
        if not isinstance(body, dict) or len(FORMATS & body.keys()) != 1:
            raise RefusedError(422, f"{INVALID} Send either instances or inputs.")
        if "instances" in body:
            by_rows = to_message(body, RowsBody)
            _require_signature(by_rows.signature_name)
            return check_rows(by_rows.instances, max_rows), _write_rows
        by_columns = to_message(body, ColumnsBody)
        _require_signature(by_columns.signature_name)
        return check_rows(to_rows(by_columns.inputs, max_rows), max_rows), _write_columns

    handler = answer_with(runtime, read, number)
    paths = (f"{MODEL}:predict", f"{VERSION}:predict")
    return {path: Endpoint(runtime, path, handler, wording) for path in paths}


def pages(runtime: Runtime) -> list[Route]:
    """Return what answers GET; while it drains, the status of the model is 503."""

    def show_status() -> Json:
        kserve = {"name": runtime.settings.model_name, "ready": runtime.ready}
        return {"model_version_status": [_status(runtime)], **kserve}

    def show_metadata() -> Json:
        version = number(runtime.scorer.model.version)
        return metadata(runtime.contract, runtime.settings.model_name, version)

    return [
        *(
            page(runtime, f"{path}/metadata", show_metadata, wording, number)
            for path in (MODEL, VERSION)
        ),
        *(
            page(runtime, path, show_status, wording, number, readiness=True)
            for path in (MODEL, VERSION)
        ),
    ]


def number(version: str) -> str:
    """Return the integer, in digits, that stands for a version: its date and time."""
    return "".join(filter(str.isdigit, version.partition("-")[0])) or "0"


def wording(refused: RefusedError) -> Answer:
    """Return a refusal in the words of the protocol."""
    return Answer(encode(PredictError(refused.refusal.text)), status_of(refused))


def _require_signature(name: str | None) -> None:
    if name not in (None, "", SIGNATURE):
        raise RefusedError(422, f"{INVALID} The only signature_name is {SIGNATURE}.")


def _write_rows(scored: Scored) -> Answer:
    return Answer(encode({"predictions": scored.predictions}))


def _write_columns(scored: Scored) -> Answer:
    return Answer(encode({"outputs": scored.predictions}))


def metadata(contract: Contract, name: str, version: str) -> Json:
    """Return what the model takes and gives."""
    output = contract.output
    inputs = {each.name: _tensor(each.name, TYPES[each.type]) for each in contract.features}
    signature = {
        "inputs": inputs,
        "outputs": {output: _tensor(output, "DT_FLOAT", *contract.width)},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
    }


def _tensor(name: str, kind: str, *width: int) -> Json:
    dim = [{"size": str(size), "name": ""} for size in (-1, *width)]
    shape = {"dim": dim, "unknown_rank": False}
    return {"dtype": kind, "tensor_shape": shape, "name": f"{name}:0"}


def _status(runtime: Runtime) -> Json:
    return {
        "version": number(runtime.scorer.model.version),
        "state": "AVAILABLE" if runtime.ready else "UNLOADING",
        "status": {"error_code": "OK", "error_message": ""},
    }


def part(decoder: Decoder, name: str) -> Part:
    """Return what the OpenAPI document says of the protocol."""
    contract, paths = decoder.contract, Json()
    content = media({"type": "object"})
    sent = media(any_of("RowsBody", "ColumnsBody"), example={"instances": [contract.example_row()]})
    answered = media(any_of("RowPredictions", "ColumnPredictions"))
    error = "PredictError"
    for path, suffix, pinned in versions(MODEL, VERSION, name):
        status = shown(f"v1_status{suffix}", "The status.", content, pinned, True, error)
        described = shown(
            f"v1_metadata{suffix}", "What it takes and gives.", content, pinned, error=error
        )
        predicting = predicts(f"v1_predict{suffix}", [sent], [answered], error, pinned)
        paths |= {path: status, f"{path}/metadata": described}
        paths[f"{path}:predict"] = {"post": predicting}
    by_row = answer_type(
        contract, "RowPredictions", "What was predicted for each instance.", "predictions"
    )
    by_column = answer_type(
        contract, "ColumnPredictions", "What was predicted for each row of the inputs.", "outputs"
    )
    messages = schemas(RowsBody, ColumnsBody, by_row, by_column, PredictError)
    messages["ColumnsBody"]["properties"]["inputs"] |= columns(decoder)
    return Part(paths, messages)
