"""What clients ask of the service of the story, and what they tell of it later."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count, cycle, islice
from threading import Event, Thread
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import httpx

from .copied import Row

BATCH = 20
"""Rows in a request."""
PAUSE_SECONDS = 0.2
PATIENCE_SECONDS = 5.0
BAD_EVERY = 25
"""Of so many requests one is not valid."""
UNKNOWN_FIELD = "field that the schema does not know"
REFUSED = {400, 422}
MALFORMED = (ValueError, LookupError, TypeError)

Outcome = Literal["answered", "degraded", "refused", "failed"]


class Counts(NamedTuple):
    """What became of the requests, each of which is counted once.

    Attributes:
        answered: By the model.
        degraded: By the fallback.
        refused: As not valid.
        failed: Not answered, or in any other way.
    """

    answered: int = 0
    degraded: int = 0
    refused: int = 0
    failed: int = 0

    def plus(self, outcome: Outcome) -> "Counts":
        """Return them with one request more."""
        so_far: int = getattr(self, outcome)
        return self._replace(**{outcome: so_far + 1})

    @property
    def sentence(self) -> str:
        """What became of them, in words."""
        return (
            f"Of {sum(self):,} requests {self.answered:,} were answered by the model, "
            f"{self.degraded:,} by the fallback, {self.refused:,} refused, as one in "
            f"{BAD_EVERY} is not valid on purpose, and {self.failed:,} failed."
        )


class Traffic:
    """Asks the service in a thread of its own, until the block ends; a service may be away."""

    def __init__(self, url: Callable[[], str], rows: Sequence[Row]) -> None:
        """Take what is asked.

        Args:
            url: Says where the service is now.
            rows: Those that are asked, one after another, again and again; one at least.
        """
        self.rows = rows
        self.counts = Counts()
        self.labels = 0
        """That were taken."""
        self._url = url
        self._turn: Iterator[Row] = cycle(rows)
        self._ended = Event()
        self._thread = Thread(target=self._run, name="traffic")

    def ask(self, rows: Sequence[Row]) -> None:
        """Ask these rows from now on."""
        self.rows, self._turn = rows, cycle(rows)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, once the last request is answered."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        # Without a proxy, which this machine may have.
        with httpx.Client(timeout=PATIENCE_SECONDS, trust_env=False) as client:
            for number in count(1):
                outcome = self._send(client, list(islice(self._turn, BATCH)), number)
                self.counts = self.counts.plus(outcome)
                if self._ended.wait(PAUSE_SECONDS):
                    return

    def _send(self, client: httpx.Client, rows: Sequence[Row], number: int) -> Outcome:
        """Send a request, and tell the labels if the model answers it."""
        asked = [row.features for row in rows]
        if number % BAD_EVERY == 0:
            asked[-1] = {**asked[-1], UNKNOWN_FIELD: True}
        try:
            url = self._url()
            answer = client.post(f"{url}/predict", json={"rows": asked})
            if answer.status_code in REFUSED:
                return "refused"
            answer.raise_for_status()
            if "degraded" in answer.headers:  # such predictions are not kept for their labels
                return "degraded"
            ids = answer.json()["prediction_id"]
            labels = [
                {"prediction_id": each, "label": row.label}
                for each, row in zip(ids, rows, strict=True)
            ]
        except (httpx.HTTPError, *MALFORMED):
            return "failed"
        self.labels += len(labels) * _tell(client, url, labels)
        return "answered"


def _tell(client: httpx.Client, url: str, labels: list[dict[str, Any]]) -> bool:
    """Tell labels, and return whether they were taken; else they are lost."""
    try:
        return client.post(f"{url}/feedback", json={"labels": labels}).is_success
    except httpx.HTTPError:
        return False
