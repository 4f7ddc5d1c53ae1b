"""What lives in one worker process: the scorer, and what is done beside the requests."""

import asyncio
import gc
import logging
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import slo
from ..contract import Contract, Rows
from ..feedback.sample import CHALLENGER, Arm
from ..feedback.writer import Writers
from ..monitoring import counts, metrics
from ..monitoring.exporter import Exporter
from ..settings import Settings, needing
from .champion import Reloader
from .decode import Decoder
from .drain import Drain
from .follow import Keeper, folder_of
from .observation import Observer
from .profiling import Profiles
from .scoring import REASONS, NoAnswerError, OverloadedError, Scored, Scorer
from .split import Split
from .table import TableChecker
from .turns import Turns

if TYPE_CHECKING:
    from ..feedback.log import Log
    from .monitor import Monitor

LOGGER = logging.getLogger("model_service")
TICK_SECONDS = 1.0


class Runtime:
    """Made when the service is imported; loads the model when the worker starts.

    Attributes:
        contract: The schema of the service.
        settings: What the environment says.
        decoder: Reads rows that come one by one.
        tables: Checks rows that come in columns.
        scorer: Answers them.
        split: Assigns units to the arms of an A/B test; None where there is none.
        challenger: Answers those of its arm; None where there is no test.
        turns: Lets large bodies wait for each other.
        feedback: Keeps predictions until their labels come; None where no database is set.
        writers: What writes predictions beside the requests.
        observer: Tells of requests in the log, and in traces.
        drain: Says whether the service is stopping.
    """

    def __init__(self, contract: Contract, settings: Settings) -> None:
        """Take the schema and the settings."""
        self.contract, self.settings = contract, settings
        self.decoder = Decoder(contract)
        self.tables = TableChecker(self.decoder)
        self.drain = Drain(settings.drain_seconds)
        self.scorer = self._scorer()
        self.split = _split(settings)
        self.challenger = self._scorer() if self.split else None
        self.turns = Turns(settings.max_waiting)
        self.feedback = _log(contract, settings)
        self.writers = Writers(self.feedback, _monitor(contract, settings))
        self.observer = Observer(settings)
        self._profiles = Profiles(settings)
        self._keeper = Keeper(settings)
        self._reloader: Reloader | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._exporter: Exporter | None = None
        self._imported_by = os.getpid()

    @property
    def ready(self) -> bool:
        """Whether load balancers may send requests."""
        return not self.drain.active

    async def score(self, rows: Rows, arm: Arm) -> Scored:
        """Return the answer of the model of an arm; the champion answers what the challenger fails.

        Raises:
            OverloadedError: too many requests wait already.
            NoAnswerError: the model fails and there is no fallback.
        """
        if arm == CHALLENGER and self.challenger:
            with suppress(NoAnswerError, OverloadedError):
                scored = await self.challenger.score(rows, is_tried=True)
                if not scored.degraded:
                    return scored
        return await self.scorer.score(rows)

    def load(self) -> None:
        """Load the model.

        Raises:
            RegistryError: nothing can be served.
        """
        self._reloader = Reloader(
            self.contract,
            self.scorer,
            folder_of(self.settings),
            self.settings.alias,
            self.feedback,
        )
        if self.challenger:
            self._load_challenger(self.challenger)
        metrics.publish_start()
        metrics.publish_reasons(REASONS)
        # What is here now stays: looking through it again and again would stop requests for
        # tens of milliseconds.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        gc.enable()

    def _load_challenger(self, scorer: Scorer) -> None:
        """Load the other model of an A/B test: the same one as long as the test goes on."""
        folder = folder_of(of_challenger(self.settings))
        Reloader(self.contract, scorer, folder, CHALLENGER, self.feedback, stays=True)
        champion, challenger = self.scorer.model, scorer.model
        if self.feedback and champion.watch:
            plan = slo.planned().model_dump(mode="json")
            versions = champion.version, challenger.version
            name, decision = self.settings.experiment, champion.watch.decision
            self.feedback.declare(name, plan, decision, *versions)

    def _scorer(self) -> Scorer:
        return Scorer(self.contract, self.settings.model_seconds, self.settings.max_waiting)

    async def start(self) -> None:
        """Begin what is done beside the requests."""
        # A supervisor that imported the service before it forked, or else the parent of now.
        forked = self._imported_by != os.getpid()
        self._supervisor = self._imported_by if forked else os.getppid()
        self.drain.install()
        self.observer.start()
        self._profiles.install()
        self._ticking = asyncio.create_task(self._tick())
        self.writers.start()
        if self.settings.metrics_port:
            from .worker import BoundedProtocol  # with Gunicorn, which not every process needs

            place = self.settings.host, self.settings.metrics_port
            self._exporter = Exporter(*place, self.settings.track, BoundedProtocol)
            self._exporter.start()

    async def stop(self) -> None:
        """End it."""
        if self._ticking:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError, Exception):  # it ended by itself, and said why
                await self._ticking
        await self.writers.end()
        if self._exporter:
            await self._exporter.stop()
        self._keeper.stop()
        self._count_drift()
        await self._profiles.end()
        await asyncio.to_thread(self.observer.stop)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            metrics.WAITING.set(sum(each.take_most_waiting() for each in self._scorers))
            counts.restore()
            try:
                self._count_drift()
            except Exception:
                LOGGER.exception("drift was not counted; it is tried again")
            try:
                self._keeper.check()
                if self._reloader:
                    await self._reloader.check()
            except Exception:
                LOGGER.exception("no other model was looked for; it is tried again")
            if os.getppid() != self._supervisor:  # it was killed: do not outlive it
                signal.raise_signal(signal.SIGTERM)

    def _count_drift(self) -> None:
        for scorer in self._scorers:
            if drift := scorer.model.drift:
                drift.flush()

    @property
    def _scorers(self) -> list[Scorer]:
        return [each for each in (self.scorer, self.challenger) if each]


def of_challenger(settings: Settings) -> Settings:
    """Return the settings by which the challenger is found."""
    return settings.model_copy(update={"alias": CHALLENGER})


def _split(settings: Settings) -> Split | None:
    """Return what assigns units to arms.

    Raises:
        SloError: slo.yaml is wrong.
    """
    if not settings.experiment:
        return None
    return Split(settings.experiment, settings.experiment_unit, slo.planned().share)


def _log(contract: Contract, settings: Settings) -> "Log | None":
    url = settings.feedback_url.get_secret_value()
    if not url:
        return None
    with needing("FEEDBACK_URL", "feedback"):
        from ..feedback.log import Log  # with a library for databases, which the image may not hold
    return Log(contract, url, settings.feedback_days, settings.track)


def _monitor(contract: Contract, settings: Settings) -> "Monitor | None":
    if not settings.monitor:
        return None
    from .monitor import Monitor  # with BentoML, which a process that serves nothing does without

    return Monitor(contract, settings.monitor)
