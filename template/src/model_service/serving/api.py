"""The HTTP interface beside BentoML's own routes: predictions, metrics and the OpenAPI document."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..contract import to_arrays
from ..monitoring import metrics
from ..settings import Settings
from .drain import Drain
from .messages import PredictResponse, Refusal, RefusedError, parse
from .openapi import document
from .predictor import Predictor

BODY_SECONDS = 5

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Served:
    """What the routes need; the service puts it into `app.state.served` when it starts."""

    predictor: Predictor
    version: str
    settings: Settings
    drain: Drain


async def predict(request: Request) -> Response:
    """Answer POST /predict."""
    served: Served = request.app.state.served
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await read_body(request, served.settings.max_body_bytes)
    except TimeoutError:
        raise RefusedError(408, f"Send the body within {BODY_SECONDS} seconds.") from None
    rows = parse(body, served.settings.max_rows)
    probabilities = served.predictor.predict(*to_arrays(vars(row) for row in rows))
    if not np.isfinite(probabilities).all():
        raise ArithmeticError("The model gave an answer that is not finite.")
    metrics.PREDICTIONS.labels(served.version).inc(len(rows))
    request_id = secrets.token_hex(8)
    return _json(
        PredictResponse(
            predictions=probabilities.tolist(),
            model_version=served.version,
            prediction_id=[f"{request_id}-{row}" for row in range(len(rows))],
        )
    )


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body of a request.

    Raises:
        RefusedError: it is longer than the limit, in bytes (413).
    """
    too_long = RefusedError(413, f"Send {limit} bytes at most in one request.")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise too_long
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_long
    return bytes(body)


async def show_front_page(request: Request) -> Response:
    """Answer GET /: what is served here, and where it is described."""
    served: Served = request.app.state.served
    return JSONResponse({"model_version": served.version, "documentation": "/docs.json"})


async def show_metrics(_: Request) -> Response:
    """Answer GET /metrics, over all worker processes."""
    content, media_type = metrics.render()
    return Response(content, media_type=media_type)


async def show_document(_: Request) -> Response:
    """Answer GET /docs.json."""
    return JSONResponse(document())


def measured(handler: Handler, route: str) -> Handler:
    """Return the handler with refusals answered, errors hidden, and every answer counted."""

    async def handle(request: Request) -> Response:
        start = perf_counter()
        try:
            response = await handler(request)
        except RefusedError as error:
            for problem in error.refusal.problems:
                metrics.PROBLEMS.labels(metrics.field_label(problem.field)).inc()
            response = _json(error.refusal, error.status)
        except ClientDisconnect:
            response = Response(status_code=499)  # nobody is there to read it
        except Exception:
            metrics.LOGGER.exception("%s failed", route)
            response = _json(
                Refusal(error="The service failed; the request may be sent again."), 500
            )
        if request.app.state.served.drain.active:
            response.headers["connection"] = "close"
        metrics.DURATION.labels(route).observe(perf_counter() - start)
        metrics.REQUESTS.labels(route, str(response.status_code)).inc()
        return response

    return handle


def _json(message: BaseModel, status: int = 200) -> Response:
    return Response(message.model_dump_json(), status, media_type="application/json")


app = Starlette(
    routes=[
        Route("/predict", measured(predict, "/predict"), methods=["POST"]),
        Route("/", show_front_page),
        Route("/metrics", show_metrics),
        Route("/docs.json", show_document),
    ]
)
