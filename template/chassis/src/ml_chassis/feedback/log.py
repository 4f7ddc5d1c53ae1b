"""What a worker keeps of its predictions until their labels come.

A request only leaves its rows in a list; once a second a thread writes what has gathered into the
database. Of more than `MAX_ROWS_PER_SECOND` a random share of the requests is kept. A database that
fails costs labels, which are counted, and never a prediction.
"""

import logging
import random
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ..contract import Contract, Prediction, Rows, Table
from ..errors import UserError
from ..monitoring import metrics
from ..monitoring.quality import Kept, Label, Watch, count
from .store import Store, Told

LOGGER = logging.getLogger("model_service")
MAX_ROWS_PER_SECOND = 300
"""In one process: a row takes some 35 microseconds, beside the requests."""
MAX_PENDING = 5_000
"""Predictions that wait for a database that fails."""
VERSIONS = 3
"""Of models whose predictions may still be in the list."""
LATE = timedelta(minutes=10)
"""How long a label and a prediction may take from their processes to the database."""
JOIN_SECONDS, FORGET_SECONDS, SAY_SECONDS = 10, 3_600, 60


class Noted(NamedTuple):
    """The answer of one request."""

    id: str
    version: str
    rows: Rows
    predictions: Sequence[Prediction]
    chosen: Sequence[int] | None = None

    @property
    def positions(self) -> Sequence[int]:
        """Of the rows in the request."""
        return range(len(self.predictions)) if self.chosen is None else self.chosen


class Log:
    """Notes predictions and takes labels, for one schema and database."""

    def __init__(self, contract: Contract, url: str, days: int) -> None:
        """Take the schema, the address of the database, and how many days it keeps what it has."""
        self._contract, self._url, self._days = contract, url, timedelta(days=days)
        self._watches: dict[str, Watch] = {}
        self._noted: list[Noted] = []
        self._pending: list[Kept] = []
        self._offered = self._offered_before = 0
        self._store: Store | None = None
        self._opening = threading.Lock()
        self._joined = self._forgot = self._said = -float("inf")
        for outcome in ("kept", "lost"):
            metrics.count_kept(outcome, 0)
        for outcome in ("joined", "known", "changed", "waiting", "failed"):
            metrics.count_labels(outcome, 0)

    def use(self, version: str, watch: Watch) -> None:
        """Keep the predictions of this version from now on, too."""
        watch.publish()
        self._watches = dict([*self._watches.items(), (version, watch)][-VERSIONS:])

    def note(self, name: str, version: str, rows: Rows, predictions: Sequence[Prediction]) -> None:
        """Note the answer of one request, whose rows have the ids NAME-0, NAME-1 and so on."""
        self._offered += len(predictions)
        offered = max(self._offered, self._offered_before)
        if random.random() * offered <= MAX_ROWS_PER_SECOND:  # noqa: S311 - no secret
            self._noted.append(Noted(name, version, rows, predictions))

    def flush(self) -> None:
        """Write what was noted, and join labels; is called every second, in a thread."""
        noted, self._noted = self._noted, []
        self._offered_before, self._offered = self._offered, 0
        for version in {each.version for each in noted} & self._watches.keys():
            of_version = [each for each in noted if each.version == version]
            self._pending += self._kept(self._watches[version], of_version)
        try:
            self._write()
        except Exception as error:  # the database or its driver: any of their errors
            self._say(error)
            lost = len(self._pending) - MAX_PENDING
            if lost > 0:
                del self._pending[:lost]
                metrics.count_kept("lost", lost)

    def add(self, labels: Mapping[str, Label]) -> Told:
        """Add labels by the ids of predictions.

        Raises:
            UserError: the database cannot be opened.
            sqlalchemy.exc.SQLAlchemyError: it fails.
        """
        try:
            told = self._open().add(labels)
        except Exception:
            metrics.count_labels("failed", len(labels))
            raise
        self._count(told)
        return told

    def close(self) -> None:
        """Close the database."""
        if self._store:
            self._store.close()

    def _write(self) -> None:
        store, now = self._open(), time.monotonic()
        if self._pending:
            self._count(Told(store.keep(self._pending), 0, 0, 0))
            metrics.count_kept("kept", len(self._pending))
            self._pending = []
        if now - self._joined > JOIN_SECONDS:
            first = self._joined < 0
            today = datetime.now(UTC).replace(tzinfo=None)
            self._count(store.join(datetime.min if first else today - LATE))
            self._joined = now
        if now - self._forgot > FORGET_SECONDS:
            store.forget(datetime.now(UTC).replace(tzinfo=None) - self._days)
            self._forgot = now

    def _open(self) -> Store:
        with self._opening:
            if self._store is None:
                self._store = Store(self._contract, self._url)
            return self._store

    def _count(self, told: Told) -> None:
        count(self._contract, told.joined)
        metrics.count_labels("joined", len(told.joined))
        for outcome in ("known", "changed", "waiting"):
            metrics.count_labels(outcome, getattr(told, outcome))

    def _kept(self, watch: Watch, noted: Sequence[Noted]) -> list[Kept]:
        """Return what is kept of answers of one version, together: one by one takes much longer."""
        few = [_some(each) for each in noted]
        _, categorical = self._contract.to_inputs([each.rows for each in few])
        ids = [f"{each.id}-{at}" for each in few for at in each.positions]
        return watch.keep(ids, categorical, [value for each in few for value in each.predictions])

    def _say(self, error: Exception) -> None:
        if time.monotonic() - self._said > SAY_SECONDS:
            self._said = time.monotonic()
            why = str(error) if isinstance(error, UserError) else type(error).__name__
            LOGGER.error("predictions are not kept for their labels: %s", why)


def _some(noted: Noted) -> Noted:
    """Return a random part of the rows of a large request."""
    count = len(noted.predictions)
    if count <= MAX_ROWS_PER_SECOND:
        return noted
    chosen = sorted(random.sample(range(count), MAX_ROWS_PER_SECOND))
    table = noted.rows
    rows: Rows = (
        Table(table.numeric[chosen], table.categorical[chosen])
        if isinstance(table, Table)
        else [table[at] for at in chosen]
    )
    return Noted(noted.id, noted.version, rows, [noted.predictions[at] for at in chosen], chosen)
