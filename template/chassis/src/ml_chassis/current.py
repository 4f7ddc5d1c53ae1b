"""The request that is answered now, as far as it is watched: what its lines in the log name.

Most requests are not watched, and cost nothing here.
"""

import secrets
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .tracing import Trace

REQUEST_ID = "x-request-id"
CARRIED = ("traceparent", "tracestate")
"""By which a request says which trace it is a part of: the W3C's recommendation Trace Context."""


class Call(NamedTuple):
    """One call of the model, for the rows of one or of several requests.

    Attributes:
        start: When it began, in seconds of `time.perf_counter`.
        seconds: How long it took.
        rows: How many rows it answered.
    """

    start: float
    seconds: float
    rows: int


class Watched:
    """A request that is watched.

    Attributes:
        carrier: The headers by which the client says which trace it is a part of.
        is_logged: Whether it gets a line of its own in the log, whatever it is answered.
        trace: Its spans; None where they are not sent anywhere.
        prediction_id: What its predictions are called, without the number of the row.
        model_version: Of the model that answered it.
        degraded: Why the fallback answered it, if it did.
        rows: How many it has.
        calls: Those of the model that answered it.
    """

    __slots__ = (
        *("_request_id", "calls", "carrier", "degraded", "is_logged", "model_version"),
        *("prediction_id", "rows", "trace"),
    )

    def __init__(self, request_id: str = "", carrier: dict[str, str] | None = None) -> None:
        """Take what the client says of it."""
        self._request_id = request_id
        self.carrier = carrier or {}
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
    def ids(self) -> dict[str, str]:
        """What each of its lines in the log names."""
        return {"request_id": self.request_id, **(self.trace.ids if self.trace else {})}


CURRENT: ContextVar[Watched | None] = ContextVar("CURRENT", default=None)
"""The request that is answered; None where it is not watched."""


def watch() -> Watched:
    """Watch the request from now on, if it is not: something failed, and is told."""
    watched = CURRENT.get()
    if watched is None:
        watched = Watched()
        CURRENT.set(watched)
    return watched
