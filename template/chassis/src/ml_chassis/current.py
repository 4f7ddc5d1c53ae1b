"""The request that a line of the log, or a span, is about.

Most requests have no such context, and cost nothing here.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .tracing import Trace

REQUEST_ID = "x-request-id"
PREDICTION_ID = "prediction-id"
"""How a gateway names the prediction of a request that a shadow gets, too, so that both give it the
same id."""
EXPOSURE = "experiment-exposure"
"""How a gateway says which arm of an A/B test a request is in: name of the test, arm, unit."""
PARENT, STATE = "traceparent", "tracestate"
"""By which a request says which trace it is a part of: the W3C's recommendation Trace Context."""
_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_PARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_MEMBER = r"[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_STATE = re.compile(rf"{_MEMBER}(?:[ \t]*,[ \t]*{_MEMBER}){{0,31}}")
MAX_STATE = 512


class Call(NamedTuple):
    """One call of the model, for the rows of one or of several requests.

    Attributes:
        start: When it began, in seconds of `time.perf_counter`.
        seconds: How long it took.
        rows: How many rows it was for.
        failed: Whether it gave no predictions.
    """

    start: float
    seconds: float
    rows: int
    failed: bool = False


class RequestContext:
    """What is known of a request.

    Attributes:
        carrier: The valid headers by which the client says which trace it is a part of.
        is_logged: Whether it gets a line in the access log, whatever it is answered.
        trace: Its spans; None where they are not sent anywhere.
        prediction_id: What its predictions are called, without the number of the row.
        model_version: Of the model that answered it.
        degraded: Why the fallback answered it, if it did.
        rows: How many it has.
        calls: Those of the model that were to answer it.
    """

    __slots__ = (
        *("_request_id", "calls", "carrier", "degraded", "is_logged", "model_version"),
        *("prediction_id", "rows", "trace"),
    )

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        """Take the headers that say something of it; what is not valid is as good as not there."""
        given = headers or {}
        name = given.get(REQUEST_ID, "")
        self._request_id = name if _ID.fullmatch(name) else ""
        self.carrier = _carrier(given)
        self.is_logged = False
        self.trace: Trace | None = None
        self.prediction_id = self.model_version = ""
        self.degraded: str | None = None
        self.rows = 0
        self.calls: list[Call] = []

    @property
    def request_id(self) -> str:
        """The one that the client gave, or else one that is drawn."""
        if not self._request_id:
            self._request_id = secrets.token_hex(8)
        return self._request_id

    @property
    def is_sampled(self) -> bool | None:
        """Whether the client wants spans of its trace; None where it has none."""
        parent = self.carrier.get(PARENT)
        return None if parent is None else bool(int(parent[-2:], 16) & 1)

    @property
    def ids(self) -> dict[str, str]:
        """What each of its lines in the log names."""
        named = {"request_id": self.request_id}
        if self.trace:
            named |= self.trace.ids
        elif found := _PARENT.fullmatch(self.carrier.get(PARENT, "")):
            named["trace_id"] = found[1]
        return named


def _carrier(headers: Mapping[str, str]) -> dict[str, str]:
    parent, state = headers.get(PARENT, ""), headers.get(STATE, "")
    if not _PARENT.fullmatch(parent):
        return {}
    valid = len(state) <= MAX_STATE and _STATE.fullmatch(state)
    return {PARENT: parent, **({STATE: state} if valid else {})}


CURRENT: ContextVar[RequestContext | None] = ContextVar("CURRENT", default=None)
"""That of the request that is answered, if it has one."""


def ensure() -> RequestContext:
    """Return that of the request that is answered, from now on: something failed, and is told."""
    context = CURRENT.get()
    if context is None:
        context = RequestContext()
        CURRENT.set(context)
    return context


@contextmanager
def about(context: RequestContext | None) -> Iterator[None]:
    """Let lines of the log name this request, or none, in whatever task or thread this is."""
    before = CURRENT.set(context)
    try:
        yield
    finally:
        CURRENT.reset(before)
