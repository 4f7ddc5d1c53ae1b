"""TorchServe's interface for predictions, and the part of its management that only lists.

A body is one row, a list of rows, or a list of rows under `rows` or `instances`; the answer is a
number, a list of numbers, or such a list under `predictions`.

https://github.com/pytorch/serve/blob/master/docs/inference_api.md
"""

from typing import Any

import msgspec
from starlette.routing import Route
from starlette.types import Scope

from ...contract import Contract, Rows
from ...registry import MODEL_FILE
from ..decode import Decoder
from ..describe import ROWS, Json, Part, media, predicts, schemas, shown, versions
from ..endpoint import Answer, Endpoint
from ..messages import RefusedError
from ..runtime import Runtime
from ..scoring import MAX_BATCH_ROWS, Scored
from .exchange import Write, answer_with, encode, page, read_json, status_of

PREDICTIONS, PREDICTIONS_OF_VERSION = "/predictions/{name}", "/predictions/{name}/{version}"
MODEL, VERSION = "/models/{name}", "/models/{name}/{version}"
METHODS = ("POST", "PUT")
"""PUT is what `curl -T` sends."""
WRAPPERS = {"rows", "instances"}
EXCEPTIONS = {
    404: "ModelNotFoundException",
    408: "RequestTimeoutException",
    429: "ServiceUnavailableException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
    504: "ServiceUnavailableException",
}


class TorchServeError(msgspec.Struct):
    """Why a request was not answered."""

    code: int
    type: str
    message: str


def endpoints(runtime: Runtime) -> dict[str, Endpoint]:
    """Return what answers requests for predictions, by the template of its path."""

    def read(_: Scope, sent: bytes) -> tuple[Rows, Write]:
        rows, write = _open(read_json(sent))
        return runtime.decoder.check_rows(rows, runtime.settings.max_rows), write

    handler = answer_with(runtime, read)
    paths = (PREDICTIONS, PREDICTIONS_OF_VERSION)
    return {path: Endpoint(runtime, path, handler, wording, METHODS) for path in paths}


def pages(runtime: Runtime) -> list[Route]:
    """Return what answers GET."""

    def show_models() -> Json:
        return {"models": [{"modelName": runtime.settings.model_name, "modelUrl": MODEL_FILE}]}

    def show_model() -> list[Json]:
        return [_describe(runtime)]

    def show_health() -> Json:
        return {"status": "Healthy" if runtime.ready else "Unhealthy"}

    return [
        page(runtime, "/ping", show_health, wording, readiness=True),
        page(runtime, "/models", show_models, wording),
        *(page(runtime, path, show_model, wording) for path in (MODEL, f"{MODEL}/all", VERSION)),
    ]


def wording(refused: RefusedError) -> Answer:
    """Return a refusal in the words of the protocol."""
    status = status_of(refused)
    kind = EXCEPTIONS.get(status, "BadRequestException")
    return Answer(encode(TorchServeError(status, kind, refused.refusal.text)), status)


def _open(sent: Any) -> tuple[list[Any], Write]:
    """Return the rows of a body, and what writes the answer in its form."""
    if isinstance(sent, list):
        return sent, lambda scored: Answer(encode(scored.predictions))
    if isinstance(sent, dict) and len(sent) == 1 and WRAPPERS & sent.keys():
        (rows,) = sent.values()
        return rows if isinstance(rows, list) else [rows], _write_wrapped
    return [sent], lambda scored: Answer(encode(scored.predictions[0]))


def _write_wrapped(scored: Scored) -> Answer:
    return Answer(encode({"predictions": scored.predictions}))


def _describe(runtime: Runtime) -> Json:
    workers = runtime.settings.workers
    status = "READY" if runtime.ready else "UNLOADING"
    return {
        "modelName": runtime.settings.model_name,
        "modelVersion": runtime.scorer.model.version,
        "modelUrl": MODEL_FILE,
        "runtime": "python",
        "minWorkers": workers,
        "maxWorkers": workers,
        "batchSize": MAX_BATCH_ROWS,
        "maxBatchDelay": 0,
        "loadedAtStartup": True,
        "workers": [{"id": str(number), "status": status} for number in range(workers)],
    }


def part(decoder: Decoder, name: str) -> Part:
    """Return what the OpenAPI document says of the protocol."""
    anything = media({"type": "object"})
    listed = media({"type": "array", "items": {"type": "object"}})
    paths = {
        "/ping": shown("ping", "The model answers.", anything, probe=True),
        "/models": shown("models", "The name of the model.", anything),
    }
    paths[f"/models/{name}/all"] = shown("model_all", "The versions that are served.", listed)
    error = "TorchServeError"
    for path, suffix, pinned in versions(MODEL, VERSION, name):
        paths[path] = shown(f"model{suffix}", "The model.", listed, pinned, error=error)
    for path, suffix, pinned in versions(PREDICTIONS, PREDICTIONS_OF_VERSION, name):
        paths[path] = {
            "post": _predicts(decoder.contract, f"predictions{suffix}", pinned),
            "put": _predicts(decoder.contract, f"put_predictions{suffix}", pinned),
        }
    return Part(paths, schemas(TorchServeError))


def _predicts(contract: Contract, name: str, parameters: list[Json]) -> Json:
    number: Json = {"type": "number"}
    numbers = {"type": "array", "items": number}
    wrapped = [_object(wrapper, ROWS) for wrapper in sorted(WRAPPERS)]
    sent = media({"anyOf": [ROWS["items"], ROWS, *wrapped]}, example=contract.example_row())
    answered = media({"anyOf": [number, numbers, _object("predictions", numbers)]})
    return predicts(name, [sent], [answered], "TorchServeError", parameters)


def _object(name: str, schema: Json) -> Json:
    return {
        "type": "object",
        "properties": {name: schema},
        "required": [name],
        "additionalProperties": False,
    }
