"""Traces: which part of a request took how long, over the services that it goes through.

Spans are sent to a collector by OTLP over HTTP. The trace goes on that the client has begun, and is
handed on to the services that are asked meanwhile.
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.trace import (
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .current import CURRENT, RequestContext
from .settings import SettingsError, needing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

LOGGER = logging.getLogger("model_service")
SEND_SECONDS = 5
"""For which a collector may let the sender wait."""
STOP_SECONDS = 2.0
"""For the last spans, when the service ends."""
STOPPING = "last spans"
SAY_SECONDS = 60
BATCHES = {
    "OTEL_BSP_SCHEDULE_DELAY": 5_000,
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": 512,
    "OTEL_BSP_MAX_QUEUE_SIZE": 2_048,
}
"""OpenTelemetry's variables for the thread that sends spans, with their defaults."""
MOST_CALLS = 32
"""Of the model that get a span in one request."""
_TRACE_CONTEXT = TraceContextTextMapPropagator()
Attributes = Mapping[str, str | int | float]


class Trace:
    """The spans of one request; those of what it does are children of its own."""

    def __init__(self, tracer: Tracer, carrier: Mapping[str, str], method: str) -> None:
        """Begin, in the trace that the client has begun if it has."""
        self._tracer = tracer
        before = _TRACE_CONTEXT.extract(carrier)
        self._span = tracer.start_span(method, before, SpanKind.SERVER)
        self._context = set_span_in_context(self._span, Context())

    @property
    def ids(self) -> dict[str, str]:
        """How others find it."""
        found = self._span.get_span_context()
        if not found.is_valid:  # OTEL_SDK_DISABLED
            return {}
        trace_id, span_id = format_trace_id(found.trace_id), format_span_id(found.span_id)
        return {"trace_id": trace_id, "span_id": span_id}

    def end(self, name: str, status: int, context: RequestContext, attributes: Attributes) -> None:
        """End it.

        Args:
            name: The method and the route.
            status: What the request was answered with.
            context: That of the request.
            attributes: What is said of it.
        """
        now, since = time.time_ns(), perf_counter()
        for call in context.calls[:MOST_CALLS]:
            began = now - int((since - call.start) * 1e9)
            about: Attributes = {"model_service.batch.rows": call.rows}
            child = self._tracer.start_span(
                "model", self._context, attributes=about, start_time=began
            )
            if call.failed:
                child.set_status(Status(StatusCode.ERROR))
            child.end(began + int(call.seconds * 1e9))
        self._span.update_name(name)
        self._span.set_attributes(attributes)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()

    @contextmanager
    def child(self, name: str, attributes: Attributes) -> Iterator[dict[str, str]]:
        """Time what another service is asked; yield the headers that it is told.

        An exception ends the span as failed, with its type and without its text, which may hold
        values.
        """
        span = self._tracer.start_span(name, self._context, SpanKind.CLIENT, attributes)
        headers: dict[str, str] = {}
        _TRACE_CONTEXT.inject(headers, set_span_in_context(span, Context()))
        try:
            yield headers
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            span.end()


@contextmanager
def asking(name: str, attributes: Attributes) -> Iterator[dict[str, str]]:
    """Time what another service is asked for the current request; yield headers for it.

    Where this service sends no spans, the trace of the client goes on behind it.
    """
    context = CURRENT.get()
    if context is None:
        yield {}
    elif context.trace is None:
        yield context.carrier
    else:
        with context.trace.child(name, attributes) as headers:
            yield headers


def start(url: str, name: str, attributes: Attributes) -> "TracerProvider":
    """Return what makes tracers, and sends their spans in a thread of its own; see `require`.

    Args:
        url: Where a collector takes them by OTLP over HTTP.
        name: Of the service; the variable OTEL_SERVICE_NAME counts for more.
        attributes: What is true of every span.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    own: dict[str, Any] = {"service.name": name, "service.instance.id": str(uuid.uuid4())}
    resource = Resource.create({**own, **attributes}).merge(OTELResourceDetector().detect())
    # Which requests get spans is decided before any is made.
    provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
    sender = _Sender(OTLPSpanExporter(url, timeout=SEND_SECONDS), urlsplit(url).hostname)
    provider.add_span_processor(BatchSpanProcessor(cast("SpanExporter", sender)))
    return provider


class _Sender:
    """Says that spans are lost: the exporter itself would say for which address, keys and all."""

    def __init__(self, exporter: "SpanExporter", host: str | None) -> None:
        self._exporter, self._host = exporter, host
        self._said = -float("inf")

    def export(self, spans: Sequence["ReadableSpan"]) -> "SpanExportResult":
        from opentelemetry.sdk.trace.export import SpanExportResult

        try:
            result = self._exporter.export(spans)
        except Exception:
            result = SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS and time.monotonic() - self._said > SAY_SECONDS:
            self._said = time.monotonic()
            LOGGER.error("%d spans are lost: %s did not take them", len(spans), self._host)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def stop(provider: "TracerProvider") -> None:
    """Send what is left; a collector that hangs does not hold up the end for long."""
    sending = threading.Thread(target=provider.shutdown, name=STOPPING, daemon=True)
    sending.start()
    sending.join(STOP_SECONDS)


def require(url: str) -> None:
    """Make sure that spans can be sent, before a thread is made that sends them.

    Args:
        url: Where they are sent; "" is nowhere.

    Raises:
        SettingsError: the library for it is not installed, or a variable of OpenTelemetry has a
            value that cannot be used.
    """
    try:
        from opentelemetry.sdk import trace  # noqa: F401 - as BentoML does, with or without spans

        if url:
            with needing("TRACES_URL", "tracing"):
                import opentelemetry.exporter.otlp.proto.http  # noqa: F401
            _require_batches()
    except ValueError as error:
        given = ", ".join(sorted(name for name in os.environ if name.startswith("OTEL_")))
        told = f"OpenTelemetry cannot be used: {error}. It is set by {given}."
        raise SettingsError(told) from None


def _require_batches() -> None:
    sizes = {name: _positive(name, default) for name, default in BATCHES.items()}
    _, most, queue = sizes.values()
    if most > queue:
        raise ValueError(f"{' must not be more than '.join([*sizes][1:])}")


def _positive(name: str, default: int) -> int:
    given = os.environ.get(name, str(default))
    if not given.strip().isdecimal() or not int(given):
        raise ValueError(f"{name} must be a positive integer")
    return int(given)
