"""MLflow's scoring server, whose interface SageMaker's containers have too.

Rows come as JSON, under exactly one of `dataframe_split`, `dataframe_records`, `instances` and
`inputs`, or as CSV with a header. GET /ping is TorchServe's.

https://mlflow.org/docs/latest/deployment/deploy-model-locally.html
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

import csv
import io
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from ...contract import Column, Rows
from ..decode import Decoder
from ..describe import (
    JSON,
    ROWS,
    SCHEMAS,
    TEXT,
    Json,
    Part,
    columns,
    media,
    predicts,
    schemas,
    shown,
)
from ..endpoint import Answer, Endpoint, header
from ..messages import INVALID, Problem, RefusedError, require_few
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

CSV = "text/csv"
FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")
PROTOCOL_VERSION = "2.0.0"
"""MLflow's, since which it takes these formats."""
ERROR_CODES = {
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "TEMPORARILY_UNAVAILABLE",
}


Features = Mapping[str, Column]
"""The columns of the schema by name."""


class SplitFrame(msgspec.Struct):
    """A data frame as pandas' `to_dict(orient="split")` gives it; the index is not read."""

    columns: list[str]
    data: list[Annotated[list[Any], msgspec.Meta(extra_json_schema={"items": {}})]]


class InvocationError(msgspec.Struct):
    """Why a request was not answered."""

    error_code: str
    message: str


def endpoints(runtime: Runtime) -> dict[str, Endpoint]:
    """Return what answers requests for predictions, by its path."""
    features, check_rows = runtime.contract.by_name, runtime.decoder.check_rows

    def read(scope: Scope, sent: bytes) -> tuple[Rows, Write]:
        max_rows = runtime.settings.max_rows
        media_type = (header(scope, b"content-type") or JSON.encode()).partition(b";")[0]
        match media_type.strip().lower().decode("latin-1"):
            case "application/json":
                rows = _read_frame(features, without_nulls(read_json(sent)), max_rows)
            case "text/csv":
                rows = _read_csv(features, sent, max_rows)
            case _:
                raise RefusedError(415, f"Send {JSON} or {CSV}.")
        return check_rows(rows, max_rows), _write

    handler = answer_with(runtime, read)
    return {"/invocations": Endpoint(runtime, "/invocations", handler, wording)}


def pages(runtime: Runtime) -> list[Route]:
    """Return what answers GET."""

    def show_health() -> Json:
        return {"status": "Healthy" if runtime.ready else "Unhealthy"}

    async def show_version(_: Request) -> Response:
        return PlainTextResponse(PROTOCOL_VERSION)

    return [
        page(runtime, "/health", show_health, wording, readiness=True),
        Route("/version", show_version),
    ]


def wording(refused: RefusedError) -> Answer:
    """Return a refusal in the words of the protocol."""
    status = status_of(refused)
    code = ERROR_CODES.get(status, "BAD_REQUEST")
    return Answer(encode(InvocationError(code, refused.refusal.text)), status)


def _write(scored: Scored) -> Answer:
    return Answer(encode({"predictions": scored.predictions}))


def _read_frame(features: Features, sent: Any, max_rows: int) -> list[Any]:
    given = [name for name in FORMATS if isinstance(sent, dict) and name in sent]
    if len(given) != 1:
        raise RefusedError(422, f"{INVALID} Send exactly one of {', '.join(FORMATS)}.")
    value = sent[given[0]]
    if given[0] == "dataframe_split":
        frame = to_message(value, SplitFrame)
        return _to_rows(features, frame.columns, frame.data, max_rows)
    if isinstance(value, dict):
        return to_rows(value, max_rows)
    return to_message(value, list[Any])


def _read_csv(features: Features, sent: bytes, max_rows: int) -> list[dict[str, Any]]:
    try:
        lines = csv.reader(io.StringIO(sent.decode("utf-8-sig"), newline=""), strict=True)
        names, *rows = [line for line in lines if line] or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise RefusedError(400, f"The body is not CSV. {error}") from None
    return [
        {name: _parse(text, features.get(name)) for name, text in row.items()}
        for row in _to_rows(features, names, rows, max_rows)
    ]


def _to_rows(
    features: Features, names: list[str], rows: list[list[Any]], max_rows: int
) -> list[dict[str, Any]]:
    require_few(len(rows), max_rows)
    if len(set(names)) != len(names):
        raise RefusedError(422, f"{INVALID} Two columns have the same name.")
    if unknown := [name for name in names if name not in features]:
        problems = [
            Problem(field=name, message="There is no such feature", reason="unknown_field")
            for name in unknown
        ]
        raise RefusedError(422, f"{INVALID} A column is no feature.", problems)
    for number, row in enumerate(rows):
        if len(row) != len(names):
            message = f"Input should have {len(names)} values, one per column, not {len(row)}"
            raise RefusedError(
                422, INVALID, [Problem(row=number, message=message, reason="length")]
            )
    return [dict(zip(names, row, strict=True)) for row in rows]


def _parse(text: str, column: Column | None) -> Any:
    """Return the value that a text in CSV stands for; what cannot be one stays text."""
    if text == "":
        return None
    if column is None or column.type == "string":
        return text
    if column.type == "boolean":
        return {"true": True, "false": False, "1": True, "0": False}.get(text.lower(), text)
    try:
        return text if "_" in text else float(text)  # Python, but nobody else, reads 1_000
    except ValueError:
        return text


def part(decoder: Decoder, name: str) -> Part:
    """Return what the OpenAPI document says of the protocol."""
    del name  # is in no path
    paths = {
        "/invocations": {"post": _invocations(decoder)},
        "/health": shown("health", "The model answers.", media({"type": "object"}), probe=True),
        "/version": shown("version", "Version of the protocol, which is MLflow's.", TEXT),
    }
    answer = answer_type(decoder.contract, "InvocationAnswer", "What was predicted.", "predictions")
    return Part(paths, schemas(answer, InvocationError, SplitFrame))


def _invocations(decoder: Decoder) -> Json:
    split: Json = {"$ref": f"{SCHEMAS}SplitFrame"}
    formats = zip(FORMATS, (split, ROWS, ROWS, {"anyOf": [columns(decoder), ROWS]}), strict=True)
    frames = [
        {"type": "object", "properties": {name: schema}, "required": [name]}
        for name, schema in formats
    ]
    sent = [
        media({"anyOf": frames}, example={"dataframe_records": [decoder.contract.example_row()]}),
        media({"description": "A header, then a line per row."}, CSV),
    ]
    return predicts("invocations", sent, [media("InvocationAnswer")], "InvocationError")
