"""The webhook of Alertmanager, and the one retraining that it may have begun."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ..data import DataError
from ..monitoring import metrics
from ..serving.guard import OPEN, Guard, accepted_keys
from ..settings import Settings
from ..training.config import RetrainingConfig
from . import page
from .notification import BadNotificationError, asked_by, read
from .record import DeclinedError, Record
from .runners import End, NotAskedError, Runner

LOGGER = logging.getLogger("model_service")
SHOWN = 50
BODY_SECONDS = 10
AGAIN_SECONDS = 5
BODY_BYTES = 1_048_576
WELL = {"promoted", "nothing_new", "asked"}
LONGEST_REASON = 500
UNFIT = re.compile(r"[\0\ud800-\udfff]")
"""What a database cannot hold in a text: zeros, and halves of characters."""


class Retrainer:
    """Begins a retraining where the record lets it, and notes what came of it."""

    def __init__(self, record: Record, runner: Runner, limits: RetrainingConfig) -> None:
        """Take where it is noted, what runs it, and how often."""
        self.record, self.limits = record, limits
        self._runner = runner
        self._alone = asyncio.Lock()
        self._runs: asyncio.Task[End] | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def ask(self, by: str) -> None:
        """Begin a retraining, and return while it runs.

        Raises:
            DeclinedError: none may begin now.
            DataError: the database cannot be used.
        """
        # What is noted is begun, though who asked may be gone meanwhile.
        await asyncio.shield(self._begin(by))

    async def stop(self) -> None:
        """End one that runs, and note it."""
        self._stopping.set()
        async with self._alone:
            if self._runs:
                self._runs.cancel()
            if self._task:
                await asyncio.wait([self._task])

    async def _begin(self, by: str) -> None:
        async with self._alone:
            if not self._task or self._task.done():
                await asyncio.to_thread(self.record.close_left_open)
            number = await asyncio.to_thread(self.record.begin, by, self.limits)
            LOGGER.info("%s: a retraining runs %s", by, self._runner.where)
            self._runs = asyncio.create_task(self._runner.run(by))
            self._task = asyncio.create_task(self._run(self._runs, number))
            # What is cancelled before it has begun would end nothing.
            await asyncio.sleep(0)

    async def _run(self, runs: asyncio.Task[End], number: int) -> None:
        try:
            end = await runs
        except NotAskedError as error:
            end = End("not_asked", str(error))
        except asyncio.CancelledError:
            end = End("killed", "the retrainer was stopped")
        except Exception as error:
            LOGGER.exception("the retraining failed")
            end = End("failed", type(error).__name__)
        end = End(end.outcome, UNFIT.sub("?", end.reason)[:LONGEST_REASON])
        level = logging.INFO if end.outcome in WELL else logging.WARNING
        LOGGER.log(level, "the retraining ended: %s: %s", *end)
        stopping = self._stopping.is_set()
        while not await self._note(number, end) and not stopping:
            stopping = await _within(AGAIN_SECONDS, self._stopping)

    async def _note(self, number: int, end: End) -> bool:
        try:
            await asyncio.to_thread(self.record.end, number, *end)
        except Exception as error:  # the database or its driver: any of their errors
            LOGGER.error("what came of the retraining is not noted yet: %s", error)
            return False
        return True


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Return whether an event comes within a time."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


def create_app(retrainer: Retrainer, settings: Settings, job: str) -> ASGIApp:
    """Return the application, whose end is that of a retraining that runs.

    Args:
        retrainer: What is asked.
        settings: Of this process.
        job: How Prometheus calls the service, or "".
    """
    record, limits = retrainer.record, retrainer.limits

    async def take(request: Request) -> Response:
        try:
            by = asked_by(read(await _body(request)), job)
        except BadNotificationError as error:
            raise HTTPException(error.status, str(error)) from None
        if not by:
            return _answer("ignored", "no alert that fires has the label retrain: yes")
        try:
            await retrainer.ask(by)
        except DeclinedError as declined:
            LOGGER.info("%s: declined: %s", by, declined)
            return _answer("declined", str(declined))
        return _answer("running", by)

    async def show(request: Request) -> Response:
        why_not = await asyncio.to_thread(record.why_not, limits)
        found = await asyncio.to_thread(record.last, SHOWN)
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(page.render(why_not, found))
        return JSONResponse(page.content(why_not, found))

    async def show_metrics(_: Request) -> Response:
        ends = await asyncio.to_thread(record.ends)
        content, media_type = metrics.render_retrainings(settings.track, ends)
        return Response(content, media_type=media_type)

    async def live(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        await asyncio.to_thread(record.last, 1)
        return PlainTextResponse("ok\n")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await retrainer.stop()

    routes = [
        Route("/", show),
        Route("/alerts", take, methods=["POST"]),
        Route("/metrics", show_metrics),
        Route("/livez", live),
        Route("/readyz", ready),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _refuse, DataError: _fail},
    )
    return Guard(app, accepted_keys(settings))


async def _body(request: Request) -> bytes:
    """Return the body of a request, of JSON alone: no form of a page in a browser can send it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "Send the notification of Alertmanager, as application/json.")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES:
                    raise HTTPException(413, f"Send {BODY_BYTES} bytes at most.")
    except TimeoutError:
        raise HTTPException(408, f"Send it within {BODY_SECONDS} seconds.") from None
    except ClientDisconnect:
        raise HTTPException(400, "The body is not whole.") from None
    return bytes(body)


def _answer(outcome: str, reason: str) -> Response:
    return JSONResponse({"outcome": outcome, "reason": reason})


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as it is registered
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _fail(request: Request, error: Exception) -> Response:
    LOGGER.error("%s", error)
    # A probe has no key: its answer names no host and no user.
    public = request.url.path in OPEN
    told = "The database cannot be used; the log says why." if public else str(error)
    return JSONResponse({"error": told}, 503)
