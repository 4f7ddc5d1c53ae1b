"""The access log and the traces of a worker.

A request has a context by chance, where its client names it or its trace, and where it fails. All
others only pay for the look at their headers. One chance decides on both, so that what has a trace
has a line too, where the share of lines is not the smaller one.
"""

import logging
from random import random
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from .. import tracing
from ..current import CURRENT, PARENT, REQUEST_ID, STATE, RequestContext, ensure
from ..logs import PerSecond
from ..settings import Settings
from .messages import Header

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

LOGGER = logging.getLogger("model_service.requests")
MOST = 10
"""Lines a second in one worker, failures a second, and traces a second, whatever clients ask for:
each costs more than a prediction.
"""
FAILED = 500
_NAMES = {name.encode(): name for name in (REQUEST_ID, PARENT, STATE)}
_REQUEST_ID = REQUEST_ID.encode()


class Observer:
    """Tells of the requests of one worker.

    Attributes:
        service: How a collector knows the service.
    """

    def __init__(self, settings: Settings) -> None:
        """Take the settings.

        Raises:
            SettingsError: see `tracing.require`.
        """
        self._settings, self.service = settings, settings.model_name
        self._log_share = self._most_share = settings.log_share
        self._trace_share = 0.0
        self._provider: TracerProvider | None = None
        self._bound = PerSecond(MOST)
        tracing.require(settings.traces_url.get_secret_value())

    def start(self) -> None:
        """Send spans from now on, if they are to be sent; a thread lives in one process alone."""
        url = self._settings.traces_url.get_secret_value()
        if url:
            track = {"model_service.track": self._settings.track}
            self._provider = tracing.start(url, self.service, track)
            self._tracer = self._provider.get_tracer("ml_chassis")
            self._trace_share = self._settings.traces_share
            self._most_share = max(self._log_share, self._trace_share)

    def stop(self) -> None:
        """Send what is left, which takes seconds where the collector hangs."""
        if self._provider:
            tracing.stop(self._provider)

    def begin(self, scope: Scope) -> RequestContext | None:
        """Return the context of a request if it has one, and make it the current one."""
        given: dict[str, str] | None = None
        for name, value in scope["headers"]:
            if name in _NAMES:
                given = given or {}
                # Of a header that is there twice, neither counts.
                given[_NAMES[name]] = "" if _NAMES[name] in given else value.decode("latin-1")
        chance = random()  # noqa: S311 - nothing secret
        if given is None and chance >= self._most_share:
            return None
        context = RequestContext(given)
        context.is_logged = chance < self._log_share and self._bound.has_room(logging.INFO)
        wanted = context.is_sampled
        if chance < self._trace_share if wanted is None else wanted:
            self._trace(context, scope["method"])
        if given is None and not context.is_logged and context.trace is None:
            return None
        CURRENT.set(context)
        return context

    def end(self, scope: Scope, route: str, status: int, seconds: float) -> list[Header]:
        """Tell of the current request, which has a context or has failed.

        Args:
            scope: The request.
            route: The template of its path.
            status: What it is answered with.
            seconds: How long that took.

        Returns:
            Headers by which the client can name it.
        """
        context, method = ensure(), scope["method"]
        try:
            level = logging.ERROR if status >= FAILED else logging.INFO
            is_told = context.is_logged if status < FAILED else self._bound.has_room(level)
            if is_told:
                fields: dict[str, Any] = {
                    "duration_ms": round(seconds * 1_000, 3),
                    "track": self._settings.track,
                    **_answer(context),
                    **self._bound.take_dropped(level),
                }
                LOGGER.log(level, "%s %s %d", method, route, status, extra=fields)
            if context.trace:
                attributes = _attributes(context, method, route, status)
                context.trace.end(f"{method} {route}", status, context, attributes)
        except Exception:  # the answer matters more
            LOGGER.exception("nothing was told of a request")
        finally:
            CURRENT.set(None)
        return [(_REQUEST_ID, context.request_id.encode())]

    def _trace(self, context: RequestContext, method: str) -> None:
        if self._provider and self._bound.has_room("trace"):
            try:
                context.trace = tracing.Trace(self._tracer, context.carrier, method)
            except Exception:  # the answer matters more
                LOGGER.exception("no trace was begun")


def _answer(context: RequestContext) -> dict[str, str | int]:
    """Return what is known of the answer."""
    known: dict[str, str | int | None] = {
        "prediction_id": context.prediction_id,
        "model_version": context.model_version,
        "rows": context.rows,
        "degraded": context.degraded,
    }
    return {name: value for name, value in known.items() if value}


def _attributes(
    context: RequestContext, method: str, route: str, status: int
) -> tracing.Attributes:
    """Return what is said of a span: names of OpenTelemetry's conventions, and our own."""
    own = {f"model_service.{name}": value for name, value in _answer(context).items()}
    return {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status,
        "model_service.request_id": context.request_id,
        **own,
    }
