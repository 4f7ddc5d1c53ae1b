"""One route as a bare ASGI application: what every request for predictions goes through.

It bounds what is read, turns every outcome into an answer and counts it. There are no request and
response objects in between: for a small model they would cost more than the prediction.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from time import perf_counter
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from ..current import ensure
from ..monitoring import metrics
from .messages import Header, RefusedError, too_long
from .observation import FAILED
from .runtime import Runtime
from .scoring import NoAnswerError, OverloadedError

BODY_SECONDS = 5
LARGE_BYTES = 8192
MAX_MEMBERS = 100
"""Of a gzip stream: each costs more to begin than its 20 bytes let expect."""
TOO_SLOW = f"Send the body within {BODY_SECONDS} seconds."
RETRY_SECONDS = 1
BUSY = {429, 503}
UNREAD = {405, 408, 413}
"""Refused before the body was read; what else the client sends is of no use."""


class Answer(NamedTuple):
    """A response."""

    body: bytes
    status: int = 200
    headers: Iterable[Header] = ()
    media_type: bytes = b"application/json"


Handler = Callable[[Scope, bytes], Awaitable[Answer]]
Wording = Callable[[RefusedError], Answer]


class DisconnectedError(Exception):
    """The client went away before the body was whole."""


def own_wording(refused: RefusedError) -> Answer:
    """Return a refusal as the document of this service describes it."""
    return Answer(refused.refusal.model_dump_json().encode(), refused.status)


class Endpoint:
    """Reads a request, lets the handler answer it, and answers for the handler when it fails."""

    def __init__(
        self,
        runtime: Runtime,
        route: str,
        handler: Handler,
        wording: Wording = own_wording,
        methods: Sequence[str] = ("POST",),
        counted: bool = True,
    ) -> None:
        """Take the route under which requests are counted, and how a refusal is worded.

        What is not counted is nothing that the objectives are about.
        """
        self._runtime = runtime
        self._route = route
        self._fields = runtime.contract.by_name
        self._handler = handler
        self._wording = wording
        self._methods = methods
        self._counted = counted
        if counted:
            metrics.publish_route(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        start = perf_counter()
        context = self._runtime.observer.begin(scope)
        answer = await self._answer(scope, receive)
        more: list[Header] = []
        if self._runtime.drain.active or answer.status in UNREAD:
            more.append((b"connection", b"close"))
        if answer.status == 405:
            more.append((b"allow", ", ".join(self._methods).encode()))
        seconds = perf_counter() - start
        if self._counted:
            metrics.count_request(self._route, answer.status, seconds)
        if context is not None or answer.status >= FAILED:
            more += self._runtime.observer.end(scope, self._route, answer.status, seconds)
        await send_answer(answer, send, more)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        try:
            if scope["method"] not in self._methods:
                raise RefusedError(405, f"Ask with {' or '.join(self._methods)}.")
            body = await read_body(scope, receive, self._runtime.settings.max_body_bytes)
            if len(body) > LARGE_BYTES:
                await self._runtime.turns.wait(len(body))
            return await self._handler(scope, body)
        except DisconnectedError:
            return Answer(b"", 499)  # nobody is there to read it
        except Exception as error:
            # Not kept: a kept error would keep the body with it.
            fields = self._fields if self._counted else None
            return refuse(error, self._route, fields, self._wording)


async def send_answer(answer: Answer, send: Send, more: Iterable[Header] = ()) -> None:
    """Send a whole answer, with more headers than its own."""
    length = (b"content-length", b"%d" % len(answer.body))
    headers = [(b"content-type", answer.media_type), length, *answer.headers, *more]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def refuse(
    error: Exception,
    route: str,
    fields: Container[str | None] | None,
    wording: Wording = own_wording,
) -> Answer:
    """Return what a request is answered whose handler failed; what is no refusal is logged.

    Args:
        error: Why it failed.
        route: The route that is named in the log.
        fields: Of the schema: under their names problems are counted; None counts none.
        wording: How a refusal is worded.
    """
    answer = wording(_explain(error, route, fields))
    headers = [(b"retry-after", b"%d" % RETRY_SECONDS)] if answer.status in BUSY else []
    return answer._replace(headers=headers)


def _explain(error: Exception, route: str, fields: Container[str | None] | None) -> RefusedError:
    if isinstance(error, RefusedError):
        if fields is not None:
            problems = error.refusal.problems
            metrics.count_problems(((each.field, each.reason) for each in problems), fields)
        return error
    if isinstance(error, OverloadedError):
        return RefusedError(429, "The service has too much to do; try again later.")
    if isinstance(error, NoAnswerError):
        status = 504 if error.reason == "slow" else 503
        return RefusedError(status, "The model gave no answer; try again later.")
    ensure()  # so that this line names it
    metrics.LOGGER.error("%s failed", route, exc_info=error)
    return RefusedError(500, "The service failed; the request may be sent again.")


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return a header of a request."""
    for given, value in scope["headers"]:
        if given == name:
            found: bytes = value
            return found
    return None


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the body of a request, decompressed.

    Raises:
        RefusedError: it is longer than the limit, in bytes (413), comes too slowly (408), or is
            compressed in another way than gzip and deflate (415), or badly (400).
        DisconnectedError: the client went away.
    """
    encoding = b"identity"
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise too_long(limit)
        if name == b"content-encoding":
            encoding = value.lower()
    body = await _read_in_time(receive, limit)
    return body if encoding == b"identity" else _decompress(body, encoding, limit)


async def _read_in_time(receive: Receive, limit: int) -> bytes:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    assert task is not None  # noqa: S101 - for mypy; a coroutine runs in a task
    # What asyncio.timeout does, at a quarter of its cost.
    timer = loop.call_later(BODY_SECONDS, task.cancel, TOO_SLOW)
    try:
        return await _read(receive, limit)
    except asyncio.CancelledError as error:
        if error.args != (TOO_SLOW,):
            raise
        task.uncancel()
        raise RefusedError(408, TOO_SLOW) from None
    finally:
        timer.cancel()


async def _read(receive: Receive, limit: int) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        chunk = message.get("body", b"")
        body = body + chunk if body else chunk
        if len(body) > limit:
            raise too_long(limit)
        more = message.get("more_body", False)
    return body


def _decompress(body: bytes, encoding: bytes, limit: int) -> bytes:
    if encoding not in {b"gzip", b"x-gzip", b"deflate"}:
        raise RefusedError(415, "Send the body as it is, or compressed with gzip or deflate.")
    plain = b""
    for _ in range(MAX_MEMBERS):
        stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # which of the two it sees for itself
        try:
            plain += stream.decompress(body, limit + 1 - len(plain))
        except zlib.error:
            raise RefusedError(400, "The body is not compressed as its headers say.") from None
        if len(plain) > limit:
            raise too_long(limit)
        if not stream.eof:
            raise RefusedError(400, "The compressed body is not whole.")
        body = stream.unused_data
        if not body:
            return plain
    raise RefusedError(400, f"The compressed body has more than {MAX_MEMBERS} members.")
