"""A collector of OpenTelemetry on this machine: takes spans by OTLP over HTTP, and keeps them."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from servers import Handler, running_server


class Span(NamedTuple):
    """A span as it came; times are in nanoseconds."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start: int
    end: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector(NamedTuple):
    """What takes spans at an address."""

    url: str
    spans: list[Span]

    def trace(self, trace_id: str) -> list[Span]:
        """Return the spans of a trace that have come so far."""
        return [span for span in self.spans if span.trace_id == trace_id]


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Run one."""
    spans: list[Span] = []

    class Taking(Handler):
        def do_POST(self) -> None:
            body = self.body()
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            spans.extend(_read(ExportTraceServiceRequest.FromString(body)))
            self.answer()

    with running_server(Taking) as url:
        yield Collector(f"{url}/v1/traces", spans)


def _read(message: Any) -> Iterator[Span]:
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.kind,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    span.status.code == span.status.STATUS_CODE_ERROR,
                    _values(span.attributes),
                    _values(resource.resource.attributes),
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
