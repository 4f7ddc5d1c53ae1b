"""The controller: starts the canary, moves its weight, promotes it or takes it back.

It writes down what it is about to do before it does so. Killed at any moment and started anew, it
does the same again, which changes nothing, or goes on where it was.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from ..errors import UserError
from ..observe.prometheus import Prometheus
from ..programs import ProgramError
from . import progress, record
from .gateway import Gateway
from .progress import Look, Pace
from .record import Release
from .routes import Sharing
from .stable import Stable

TICK_SECONDS = 0.2
"""Between two looks at what a person wants, and at whether the canary runs."""
PATIENCE_SECONDS = 120
"""For stable to serve what was promoted: it looks every two seconds, or of a registry at a URL
every `MODEL_SERVICE_POLL_SECONDS`."""

OTHER_CHAMPION = ("the champion was changed meanwhile",)

Show = Callable[[Release, Look], None]
"""Shows people where a release is, several times a second."""


class UnfinishedError(UserError):
    """What was decided is not done yet; the next controller goes on with it."""


class Canary(AbstractContextManager[object], Protocol):
    """A second replica. When the block begins and ends, stable answers all requests, if it can."""

    @property
    def instance(self) -> str:
        """How Prometheus calls it."""
        ...

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        ...

    def start(self) -> None:
        """Start it, and let requests reach it.

        Raises:
            ProgramError: it does not become ready.
        """
        ...


class Controller:
    """It brings one release to its end."""

    def __init__(
        self,
        gateway: Gateway,
        canary: Canary,
        stable: Stable,
        pace: Pace,
        show: Show,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Take what it needs.

        Args:
            gateway: Which shares the requests.
            canary: What serves the version that is released.
            stable: What takes it when it is promoted.
            pace: How a release goes on.
            show: Shows where it is.
            patience: Seconds in which stable must serve what was promoted.
        """
        self._gateway, self._canary, self._stable = gateway, canary, stable
        self._pace, self._show, self._patience = pace, show, patience
        self._server = Prometheus(gateway.addresses.prometheus)

    def run(self, release: Release) -> Release:
        """Bring a release to its end, and return it as it is then.

        Whatever becomes of it, stable answers all requests afterwards.

        Raises:
            UnfinishedError: it is to be promoted, and that cannot be done.
        """
        with self._canary:
            if release.phase in {"starting", "stepping"}:
                release = self._start(release)
            if release.phase == "stepping":
                release = self._step(release)
            if release.phase == "promoting":
                release = self._follow(release)
            self._show(release, Look())
        return release

    def _start(self, release: Release) -> Release:
        record.write(self._gateway.folder, release)
        self._show(release, Look())
        try:
            self._canary.start()
        except ProgramError as error:
            said = _last_line(str(error))
            return self._keep(progress.rolled_back(release, time.time(), ("start", said)))
        release = progress.started(release, time.time())
        if wanted := record.take_wish(self._gateway.folder):
            release = progress.obey(release, wanted, time.time())
        return self._keep(release)

    def _step(self, release: Release) -> Release:
        seen, next_look = Look(), 0.0
        while release.phase == "stepping":
            now = time.time()
            if wanted := record.take_wish(self._gateway.folder):
                release = self._keep(progress.obey(release, wanted, now))
            elif not self._canary.runs:
                release = self._keep(progress.rolled_back(release, now, ("ended",)))
            elif time.monotonic() >= next_look:
                seen = self._look()
                if self._stable.is_other(release.stable, release.version):
                    release = self._give_way(release)
                else:
                    release = self._keep(progress.advance(release, seen, self._pace, now))
                next_look = time.monotonic() + self._pace.interval
            self._show(release, seen)
            time.sleep(TICK_SECONDS)
        return release

    def _look(self) -> Look:
        return progress.look(self._server, self._gateway.job, self._canary.instance)

    def _follow(self, release: Release) -> Release:
        """Promote; the canary goes on until stable serves what it does."""
        if not release.made:
            if self._stable.is_other(release.stable, release.version):
                return self._give_way(release)
            release = self._make(release)
        if release.ended:
            return release
        give_up = time.monotonic() + self._patience
        while not self._stable.serves(release):
            if self._stable.is_other(release.version):
                return self._give_way(release)
            if time.monotonic() > give_up:
                raise UnfinishedError(
                    f"{release.version} is the champion now, but stable does not serve it; see "
                    f"{self._gateway.folder}/stable.log. The same command waits for it again."
                )
            self._show(release, Look())
            time.sleep(TICK_SECONDS)
        text = "Promoted: stable serves it."
        return self._keep(release.with_event(time.time(), text, phase="promoted"))

    def _give_way(self, release: Release) -> Release:
        """Take it back: somebody has named another champion."""
        return self._keep(progress.rolled_back(release, time.time(), OTHER_CHAMPION))

    def _make(self, release: Release) -> Release:
        try:
            self._stable.take(release)
        except ProgramError as error:
            said = _last_line(str(error))
            return self._keep(progress.rolled_back(release, time.time(), ("promotion", said)))
        except UserError as error:
            raise UnfinishedError(
                f"{release.version} is to be promoted, and is not yet: {error} The same command "
                "tries again."
            ) from None
        return self._keep(release.model_copy(update={"made": True}))

    def _keep(self, release: Release) -> Release:
        """Write down what is to be so, then make it so."""
        record.write(self._gateway.folder, release)
        self._gateway.route(Sharing(weight=release.weight))
        return release


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1]
