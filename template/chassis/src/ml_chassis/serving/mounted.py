"""What routes of your own share with those for predictions: the model, bounds, words and counts.

`application` makes the FastAPI application that `web.py` fills; BentoML mounts it under /api.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any, TypeVar, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..monitoring import metrics
from .endpoint import UNREAD, Answer, DisconnectedError, read_body, refuse, send_answer
from .messages import MAX_PROBLEMS, Header, Refusal, explain, explain_all, to_whole
from .observation import FAILED
from .runtime import Runtime
from .scoring import Scored

T = TypeVar("T", bound=BaseModel)
Predict = Callable[[Sequence[BaseModel]], Awaitable[Scored]]
"""From rows of the schema to their predictions."""

MAX_BODY_BYTES = 64 * 1024
"""FastAPI lists every problem of a body: the unknown fields of a megabyte take it half a second."""
PAGES: dict[str, Callable[..., Response]] = {
    "/docs": get_swagger_ui_html,
    "/redoc": get_redoc_html,
}
EXACT = 2**53
"""Below it, floats hold all whole numbers."""
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": description}
    for status, description in {
        400: "The body is not JSON.",
        408: "The body came too slowly.",
        413: "The body is too long.",
        415: "The body is compressed in a way that is not understood.",
        422: "The request is not valid.",
        429: "The service has too much to do.",
        500: "The service failed.",
        503: "The model gave no answer.",
        504: "The model gave no answer in time.",
    }.items()
}


def predictor(runtime: Runtime) -> Predict:
    """Return what predicts rows in this process, counted as other predictions are.

    It raises `OverloadedError` or `NoAnswerError`; let them pass, and the request is refused with
    429, 503 or 504.
    """
    to_row = runtime.contract.to_row

    async def predict(rows: Sequence[BaseModel]) -> Scored:
        return await runtime.scorer.score([to_row(vars(row)) for row in rows])

    return predict


def checked(schema: type[T], values: Mapping[str, Any]) -> T:
    """Return a row of raw values as the schema has it.

    Raises:
        RefusedError: a value is not one that the schema allows; let it pass, and the request is
            refused with 422.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise explain(error) from None


def application(
    runtime: Runtime, *closing: Callable[[], Awaitable[None]], **options: Any
) -> FastAPI:
    """Return an application without routes.

    Args:
        runtime: What answers.
        closing: What is called when the process ends, such as the `close` of a source.
        options: Those of FastAPI.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for close in closing:
            await close()

    # What is behind a proxy does not know its own address, and so does not write it.
    relative: dict[str, Any] = {
        "servers": [{"url": "."}],
        "root_path_in_servers": False,
        "docs_url": None,
        "redoc_url": None,
    }
    app = FastAPI(responses=REFUSALS, lifespan=lifespan, **(relative | options))
    for path, write in PAGES.items():
        app.add_route(path, partial(_show, write))
    app.router.route_class = _JsonRoute
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(HTTPException, _refuse_in_our_words)
    app.add_middleware(_Front, runtime=runtime)
    return app


async def _show(write: Callable[..., Response], request: Request) -> Response:
    return write(openapi_url="openapi.json", title=request.app.title)


class _JsonRequest(Request):
    """Takes 1.0 for 1, as /predict does: JSON does not tell them apart, and strict models do."""

    async def json(self) -> Any:
        """Return the body as values."""
        return json.loads(await self.body(), parse_float=_number)


def _number(text: str) -> Any:
    value = float(text)
    return to_whole(value) if abs(value) < EXACT else value


class _JsonRoute(APIRoute):
    """A route whose requests are read like that."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return handle


async def _refuse_invalid(_: Request, error: Exception) -> Response:
    # Without the inputs, which may hold personal data, and without "body" in front of each field.
    details = [
        cast(ErrorDetails, {**detail, "loc": detail["loc"][1:]})
        for detail in cast(RequestValidationError, error).errors()[:MAX_PROBLEMS]
    ]
    raise explain_all(details)


async def _refuse_in_our_words(_: Request, error: Exception) -> Response:
    refused = cast(HTTPException, error)
    content = Refusal(error=str(refused.detail)).model_dump()
    return JSONResponse(content, refused.status_code, refused.headers)


class _Front:
    """Reads and bounds the body, counts the answer, and answers for a route that fails.

    An error that left the application would make the client wait for BentoML's time limit.
    """

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self._app = app
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = perf_counter()
        status = 0
        observer = self._runtime.observer
        context = observer.begin(scope)

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more: list[Header] = []
                if self._runtime.drain.active or status in UNREAD:
                    more.append((b"connection", b"close"))
                if context or status >= FAILED:
                    more += observer.end(scope, _route(scope), status, perf_counter() - start)
                if more:
                    message["headers"] = [*message["headers"], *more]
            await send(message)

        try:
            limit = min(self._runtime.settings.max_body_bytes, MAX_BODY_BYTES)
            body = await read_body(scope, receive, limit)
            await self._app(scope, _replay(body, receive), send_noted)
        except DisconnectedError:
            await send_answer(Answer(b"", 499), send_noted)  # nobody is there to read it
        except Exception as error:
            if status:  # too late for another answer
                raise
            await send_answer(
                refuse(error, _route(scope), self._runtime.contract.by_name), send_noted
            )
        finally:  # no status: given up at BentoML's time limit
            seconds = perf_counter() - start
            metrics.count_request(_route(scope), status or 504, seconds)
            if not status:
                observer.end(scope, _route(scope), 504, seconds)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read, and then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


def _route(scope: Scope) -> str:
    """Return the template of the route, never a path, of which a client could invent any number."""
    route = scope.get("route")  # of pages such as /docs it is the mount
    return f"{scope['root_path']}{route.path if isinstance(route, Route) else '/other'}"
