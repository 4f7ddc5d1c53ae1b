"""The HTTP interface beside BentoML's own routes: predictions, metrics and the OpenAPI document."""

import asyncio
import re
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from ..contract import Contract, Rows, Table
from ..current import CURRENT, PREDICTION_ID
from ..monitoring.exporter import show_metrics
from . import arrow_reader, feedback, protocols
from .arrow_reader import read_stream
from .arrow_writer import StreamWriter
from .endpoint import Answer, Endpoint, Handler
from .openapi import document
from .runtime import Runtime
from .scoring import Scored

ARROW = arrow_reader.ARROW.encode()
INLINE_BYTES = 262_144
_PREDICTION_ID = PREDICTION_ID.encode()
_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SUFFIXES = tuple(f"-{row}" for row in range(1_000))
_encode = msgspec.json.Encoder().encode


def predict(runtime: Runtime) -> Handler:
    """Return what answers POST /predict."""
    ids = random_ids()
    contract, settings = runtime.contract, runtime.settings
    decode, check = runtime.decoder.decode, runtime.tables.check
    write_stream = StreamWriter(contract).write
    sample, split = runtime.writers.sample, runtime.split

    def read_table(body: bytes) -> Table:
        columns = read_stream(contract, body, settings.max_table_rows)
        return check(columns, settings.max_table_rows)

    def write_json(scored: Scored, request_id: str) -> Answer:
        return _write_json(contract, scored, request_id)

    def write_table(scored: Scored, request_id: str) -> Answer:
        stream = write_stream(scored.predictions, _row_ids(request_id, len(scored.predictions)))
        return _table_answer(stream, scored)

    async def answer(scope: Scope, body: bytes) -> Answer:
        is_table, wants_table, named = _headers(scope)
        rows: Rows
        large = len(body) > INLINE_BYTES  # it would take a millisecond or more
        if is_table and large:  # others are answered meanwhile
            rows = await asyncio.to_thread(read_table, body)
        elif is_table:
            rows = read_table(body)
        else:
            rows = decode(body, settings.max_rows)
        assigned = split.assign(scope) if split else None
        scored = await runtime.score(rows, assigned.arm if assigned else None)
        write, name = write_table if wants_table else write_json, named or next(ids)
        if (context := CURRENT.get()) is not None:
            context.prediction_id = name
        if sample and not scored.degraded:
            sample.note(
                name,
                scored.version,
                rows,
                scored.predictions,
                is_named=bool(named),
                exposure=assigned.exposure if assigned else None,
            )
        if large and (is_table or wants_table):
            return await asyncio.to_thread(write, scored, name)
        return write(scored, name)

    return answer


def _headers(scope: Scope) -> tuple[bool, bool, str]:
    """Return whether a request is an Arrow stream, whether its answer should be one, and its name.

    The name is "" where no gateway gave it one.
    """
    is_table = wants_table = False
    named = ""
    for name, value in scope["headers"]:
        if name == b"content-type":
            is_table = value.startswith(ARROW)
        elif name == b"accept":
            wants_table = ARROW in value
        elif name == _PREDICTION_ID and _UUID.fullmatch(value):
            named = value.decode()
    return is_table, wants_table, named


def _write_json(contract: Contract, scored: Scored, request_id: str) -> Answer:
    content: dict[str, Any] = {
        "predictions": contract.named(scored.predictions),
        "model_version": scored.version,
        "prediction_id": _encoded_ids(request_id, len(scored.predictions)),
    }
    if scored.degraded:
        content["degraded"] = scored.degraded
        return Answer(_encode(content), headers=[(b"degraded", scored.degraded.encode())])
    return Answer(_encode(content))


def _table_answer(stream: bytes, scored: Scored) -> Answer:
    headers = [(b"model-version", scored.version.encode())]
    if scored.degraded:
        headers.append((b"degraded", scored.degraded.encode()))
    return Answer(stream, headers=headers, media_type=ARROW)


def _row_ids(request_id: str, rows: int) -> list[str]:
    return [f"{request_id}-{row}" for row in range(rows)]


def _encoded_ids(request_id: str, rows: int) -> msgspec.Raw:
    """Return `_row_ids` as JSON, joined at once: a text for each takes four times as long."""
    ends = SUFFIXES[:rows] if rows <= len(SUFFIXES) else [f"-{row}" for row in range(rows)]
    between = f'","{request_id}'
    return msgspec.Raw(f'["{request_id}{between.join(ends)}"]'.encode())


def random_ids() -> Iterator[str]:
    """Yield names that nobody can guess, of 64 bits; drawn many at a time, which is cheaper."""
    while True:
        digits = secrets.token_hex(8 * 1024)
        for start in range(0, len(digits), 16):
            yield digits[start : start + 16]


def endpoints(runtime: Runtime) -> dict[str, Endpoint]:
    """Return what answers requests for predictions, by path."""
    own = {"/predict": Endpoint(runtime, "/predict", predict(runtime))}
    if runtime.feedback:
        handler = feedback.answer(runtime.contract, runtime.feedback, runtime.settings.max_rows)
        own["/feedback"] = Endpoint(runtime, "/feedback", handler, counted=False)
    return {**own, **protocols.endpoints(runtime)}


def create_app(runtime: Runtime, hot: dict[str, Endpoint], web: FastAPI | None = None) -> Starlette:
    """Return the routes that are mounted into the BentoML service.

    Args:
        runtime: The model and the settings.
        hot: What answers requests for predictions, by path.
        web: Routes of your own, for the document; they are mounted elsewhere.
    """
    takes_labels = runtime.feedback is not None
    described = document(runtime.contract, runtime.settings.model_name, web, takes_labels)

    async def show_front_page(_: Request) -> Response:
        shown = {
            "model_version": runtime.scorer.model.version,
            "workers": str(runtime.settings.workers),
            "documentation": "/docs.json",
        }
        return JSONResponse(shown)

    async def show_document(_: Request) -> Response:
        return JSONResponse(described)

    scraped = Route("/metrics", show_metrics(runtime.settings.track))
    beside = [] if runtime.settings.metrics_port else [scraped]
    return Starlette(
        routes=[
            *(Route(path, endpoint) for path, endpoint in hot.items()),
            Route("/", show_front_page),
            *beside,
            *protocols.routes(runtime),
            Route("/docs.json", show_document),
        ]
    )
