"""Which requests are watched, and what is told of them: a line in the log, the spans of a trace.

A request is watched by chance, where its client names it or its trace, and where it fails. All
others only pay for the look at their headers. One chance decides on both, so that what has a trace
has a line where its share is not the smaller one.
"""

import logging
import re
import time
from random import random
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from .. import tracing
from ..current import CARRIED, CURRENT, REQUEST_ID, Watched, watch
from ..settings import Settings
from .messages import Header

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

LOGGER = logging.getLogger("model_service.requests")
MOST_TRACES = 20
"""A second, in one worker, whatever clients ask for: spans cost more than a prediction."""
MOST_SECONDS = 3.0
"""For the last spans, when the service ends."""
FAILED = 500
_REQUEST_ID = REQUEST_ID.encode()
_CARRIED = {name.encode(): name for name in CARRIED}
_KNOWN = {_REQUEST_ID, *_CARRIED}
_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
"""What may come into a log, and go back into a header; another one is as good as none."""


class Observer:
    """Watches the requests of one worker."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings.

        Raises:
            SettingsError: spans are to be sent, and the library for it is not installed.
        """
        self._settings = settings
        self._log_share = self._most_share = settings.log_share
        self._trace_share = 0.0
        self._provider: TracerProvider | None = None
        self._second = self._traces = 0
        if settings.traces_url.get_secret_value():
            tracing.require()

    def start(self) -> None:
        """Send spans from now on, if they are to be sent; a thread lives in one process alone."""
        url = self._settings.traces_url.get_secret_value()
        if url:
            track = {"model_service.track": self._settings.track}
            self._provider = tracing.start(url, self._settings.model_name, track)
            self._tracer = self._provider.get_tracer("ml_chassis")
            self._trace_share = self._settings.traces_share
            self._most_share = max(self._log_share, self._trace_share)

    def stop(self) -> None:
        """Send what is left; a collector that hangs does not hold up the end for long."""
        if self._provider:
            self._provider.force_flush(int(MOST_SECONDS * 1_000))
            self._provider.shutdown()

    def begin(self, scope: Scope) -> Watched | None:
        """Return what is noted of a request, if it is watched; then give it to `end`."""
        given: dict[bytes, bytes] | None = None
        for name, value in scope["headers"]:
            if name in _KNOWN:
                given = given or {}
                given[name] = value
        chance = random()  # noqa: S311 - nothing secret
        if given is None and chance >= self._most_share:
            return None
        watched = self._watched(given or {}, scope["method"], chance < self._trace_share)
        watched.is_logged = chance < self._log_share
        CURRENT.set(watched)
        return watched

    def end(self, scope: Scope, route: str, status: int, seconds: float) -> list[Header]:
        """Tell of a request that is watched, or that failed.

        Args:
            scope: The request.
            route: The template of its path.
            status: What it is answered with.
            seconds: How long that took.

        Returns:
            Headers by which the client can name it.
        """
        watched = watch()
        if watched.is_logged or status >= FAILED:
            _log(watched, scope["method"], route, status, seconds, self._settings.track)
        if watched.trace:
            attributes = _attributes(watched, scope["method"], route, status)
            watched.trace.end(f"{scope['method']} {route}", status, watched, attributes)
        CURRENT.set(None)
        return [(_REQUEST_ID, watched.request_id.encode())]

    def _watched(self, given: dict[bytes, bytes], method: str, traced: bool) -> Watched:
        name = given.get(_REQUEST_ID, b"").decode("latin-1")
        carrier = {
            _CARRIED[header]: value.decode("latin-1")
            for header, value in given.items()
            if header in _CARRIED
        }
        watched = Watched(name if _ID.fullmatch(name) else "", carrier)
        if self._provider and carrier:
            wanted = tracing.is_sampled(carrier)
            traced = traced if wanted is None else wanted
        if traced and self._has_room():
            watched.trace = tracing.Trace(self._tracer, carrier, method)
        return watched

    def _has_room(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._traces = second, 0
        self._traces += 1
        return self._traces <= MOST_TRACES


def _log(
    watched: Watched, method: str, route: str, status: int, seconds: float, track: str
) -> None:
    fields: dict[str, Any] = {"duration_ms": round(seconds * 1_000, 3), "track": track}
    fields |= tracing.carried_ids(watched.carrier) if not watched.trace else {}
    fields |= _answer(watched)
    level = logging.INFO if status < FAILED else logging.ERROR
    LOGGER.log(level, "%s %s %d", method, route, status, extra=fields)


def _answer(watched: Watched) -> dict[str, str | int]:
    """Return what is known of the answer."""
    known: dict[str, str | int | None] = {
        "prediction_id": watched.prediction_id,
        "model_version": watched.model_version,
        "rows": watched.rows,
        "degraded": watched.degraded,
    }
    return {name: value for name, value in known.items() if value}


def _attributes(watched: Watched, method: str, route: str, status: int) -> tracing.Attributes:
    """Return what is said of a span: names of OpenTelemetry's conventions, and our own."""
    own = {f"model_service.{name}": value for name, value in _answer(watched).items()}
    return {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status,
        "model_service.request_id": watched.request_id,
        **own,
    }
