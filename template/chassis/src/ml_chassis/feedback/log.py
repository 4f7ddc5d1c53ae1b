"""What a worker keeps of its predictions until their labels come.

Of answers to requests and to events of a stream `sample.py` chooses rows; once a second a thread
writes what has gathered into the database. A database that fails costs labels, which are
counted, and never a prediction.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from ..contract import Contract
from ..data.database import why_failed
from ..decision import Decision
from ..errors import UserError
from ..monitoring import metrics
from ..monitoring.quality import Joined, Kept, Label, Watch, count, publish
from ..settings import SHADOW
from .sample import Exposure, Noted, gather
from .store import MOST_JOINED, Declared, Store, Told, utc_now
from .writer import Writer

LOGGER = logging.getLogger("model_service")
MAX_PENDING = 5_000
"""Predictions that wait for a database that fails."""
MAX_WAITING = 8
"""Requests with labels that wait for the database."""
VERSIONS = 3
"""Of models whose predictions may still be in the list."""
LATE = timedelta(minutes=10)
"""How long a label and a prediction may take from their processes to the database."""
TAKE_SECONDS = 10
"""For which a request with labels waits: a server that is frozen keeps to no time of its own."""
SCRAPE_SECONDS = 60
"""After which Prometheus has seen a new series at zero: only then is it known to grow."""
JOIN_SECONDS, FORGET_SECONDS, SAY_SECONDS = 10, 3_600, 60


class BusyError(Exception):
    """More requests with labels wait than the database can take."""


class Log(Writer):
    """Notes predictions and takes labels, for one schema and database."""

    takes_degraded = True  # their exposures

    def __init__(
        self, contract: Contract, url: str, days: int, track: str, *, joins: bool = True
    ) -> None:
        """Take what stays as it is.

        Args:
            contract: The schema.
            url: Address of the database.
            days: For which it keeps what it has.
            track: Of this replica.
            joins: Whether labels are joined, and counted, here: not where nobody sees the counts.
        """
        super().__init__()
        self._contract, self._url, self._days = contract, url, timedelta(days=days)
        self._track, self._joins = track, joins
        self._watches: dict[str, Watch] = {}
        self._staying = set[str]()
        self._pending: list[Kept] = []
        self._exposures: dict[str, Exposure] = {}
        self._declared: Declared | None = None
        self._store: Store | None = None
        # Of its own: a database that hangs must not stop what other threads do.
        self._threads: ThreadPoolExecutor | None = None
        self._waiting = 0
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._counting = threading.Lock()
        self._unseen: list[tuple[float, list[Joined]]] = []
        self._joined = self._forgot = self._said = -float("inf")
        self._since = datetime.min
        """Labels that came before were all joined, where their predictions are known."""
        for outcome in ("kept", "lost"):
            metrics.count_kept(outcome, 0)
        for outcome in ("joined", "known", "changed", "waiting", "failed"):
            metrics.count_labels(outcome, 0)

    def use(self, version: str, watch: Watch, *, stays: bool = False) -> None:
        """Keep the predictions of this version from now on, too.

        Args:
            version: The version.
            watch: What is kept of its predictions.
            stays: Whether it is kept whatever others come.
        """
        watch.publish(self._track)
        if stays:
            self._staying.add(version)
        known = {name: each for name, each in self._watches.items() if name != version}
        known[version] = watch
        old = [name for name in known if name not in self._staying][:-VERSIONS]
        self._watches = {name: each for name, each in known.items() if name not in old}

    def declare(
        self,
        experiment: str,
        plan: Mapping[str, Any],
        decision: Decision | None,
        champion: str,
        challenger: str,
    ) -> None:
        """Note an A/B test, as it begins: its name, its plan, the decision and both versions."""
        worth = decision.model_dump(mode="json") if decision else None
        self._declared = Declared(experiment, utc_now(), plan, worth, champion, challenger)

    def flush(self) -> None:
        """Write what was noted, and join labels; is called every second, in a thread."""
        with self._flushing:  # at the end another thread may still be at it
            self._flush(self.take_noted())

    def _flush(self, noted: Sequence[Noted]) -> None:
        try:
            for version in {each.version for each in noted} & self._watches.keys():
                own = [each for each in noted if each.version == version and not each.is_degraded]
                self._pending += self._kept(self._watches[version], own)
            for each in noted:
                if each.exposure and len(self._exposures) < MAX_PENDING:
                    self._exposures[each.name(each.chosen[0])] = each.exposure
            self._count_seen()
            self._write()
        except Exception as error:  # the database or its driver: any of their errors
            self._say(error)
        lost = len(self._pending) - MAX_PENDING
        if lost > 0:
            del self._pending[:lost]
            self.lose(lost)

    def lose(self, rows: int) -> None:
        """Count rows that are not kept."""
        metrics.count_kept("lost", rows)
        self._say(TimeoutError("the database does not answer"))

    async def in_background(self) -> None:
        """Flush, and let the event loop go on."""
        await asyncio.get_running_loop().run_in_executor(self._executor(), self.flush)

    async def take(self, labels: Mapping[str, Label]) -> Told:
        """Add labels, and let the event loop go on; see `add`.

        Raises:
            BusyError: too many others wait.
            TimeoutError: the database does not answer; the labels may be added once it does.
        """
        if self._waiting >= MAX_WAITING:
            raise BusyError
        self._waiting += 1
        loop = asyncio.get_running_loop()
        adding = loop.run_in_executor(self._executor(), self._add, labels)
        adding.add_done_callback(self._leave)
        try:
            done, _ = await asyncio.wait({adding}, timeout=TAKE_SECONDS)
            if not done:
                raise TimeoutError("the database does not answer")
            return adding.result()
        except Exception:
            metrics.count_labels("failed", len(labels))
            raise

    def add(self, labels: Mapping[str, Label]) -> Told:
        """Add labels by the ids of predictions.

        Raises:
            UserError: the database cannot be opened.
            sqlalchemy.exc.SQLAlchemyError: it fails.
        """
        try:
            return self._add(labels)
        except Exception:
            metrics.count_labels("failed", len(labels))
            raise

    def why(self, error: Exception) -> str:
        """Return why something failed, for the log."""
        if isinstance(error, UserError):
            return str(error)
        return why_failed(error, self._url, bool(self._contract.personal))

    def _add(self, labels: Mapping[str, Label]) -> Told:
        told = self._open().add(labels)
        self._count(told)
        return told

    def _leave(self, adding: asyncio.Future[Told]) -> None:
        self._waiting -= 1
        if not adding.cancelled():
            adding.exception()  # whoever has waited long enough does not ask for it

    def close(self) -> None:
        """Let go of the database; what still waits for it ends within its time."""
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)
        with self._counting:
            for _, joined in self._unseen:
                self._count_each(joined)
            self._unseen = []

    def _executor(self) -> ThreadPoolExecutor:
        if self._threads is None:  # in a worker, and not in the process that it was forked from
            self._threads = ThreadPoolExecutor(2, thread_name_prefix="feedback")
        return self._threads

    def _write(self) -> None:
        store, now = self._open(), time.monotonic()
        if self._declared:
            store.declare(self._declared)
            self._declared = None
        if self._pending or self._exposures:
            if self._track == SHADOW:
                store.keep_shadow(self._pending)
            else:
                joined = store.keep(self._pending, self._joins, self._exposures)
                self._count(Told(joined, 0, 0, 0))
            metrics.count_kept("kept", len(self._pending))
            self._pending, self._exposures = [], {}
        if self._joins and now - self._joined > JOIN_SECONDS:
            begun = store.now()
            told = store.join(self._since)
            self._count(told)
            if len(told.joined) + told.known + told.changed < MOST_JOINED:
                self._joined, self._since = now, begun - LATE
                store.trim()
        if now - self._forgot > FORGET_SECONDS:
            store.forget(datetime.now(UTC).replace(tzinfo=None) - self._days)
            self._forgot = now

    def _open(self) -> Store:
        with self._lock:
            if self._store and self._store.is_gone():
                LOGGER.error("the file of the database for labels is gone: another one is begun")
                self._store.close()
                self._store = None
                self._joined, self._since = -float("inf"), datetime.min
            if self._store is None:
                self._store = Store(self._contract, self._url)
            return self._store

    def _count(self, told: Told) -> None:
        for outcome in ("joined", "known", "changed", "waiting"):
            found = getattr(told, outcome)
            metrics.count_labels(outcome, len(found) if outcome == "joined" else found)
        with self._counting:
            own, others = list[Joined](), list[Joined]()
            for each in told.joined:
                (own if self._publishes(each.kept) else others).append(each)
            self._count_each(own)
            if others:
                publish(self._contract, others)
                self._unseen.append((time.monotonic(), others))

    def _publishes(self, kept: Kept) -> bool:
        return kept.track == self._track and kept.model_version in self._watches

    def _count_seen(self) -> None:
        """Count labels of other versions, whose series Prometheus has seen by now."""
        with self._counting:
            while self._unseen and time.monotonic() - self._unseen[0][0] > SCRAPE_SECONDS:
                self._count_each(self._unseen.pop(0)[1])

    def _count_each(self, joined: Sequence[Joined]) -> None:
        """Count labels; one that does not fit its prediction stops no other."""
        for each in joined:
            try:
                count(self._contract, [each])
            except Exception as error:
                metrics.count_labels("failed", 1)
                self._say(error, "labels are not counted")

    def _kept(self, watch: Watch, noted: Sequence[Noted]) -> list[Kept]:
        """Return what is kept of answers of one version."""
        chosen = gather(noted)
        _, categorical = self._contract.to_inputs(chosen.rows)
        return watch.keep(self._track, chosen.ids, categorical, chosen.predictions)

    def _say(
        self, error: Exception, what: str = "predictions are not kept for their labels"
    ) -> None:
        if time.monotonic() - self._said > SAY_SECONDS:
            self._said = time.monotonic()
            LOGGER.error("%s: %s", what, self.why(error))
