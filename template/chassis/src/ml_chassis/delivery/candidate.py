"""A canary or shadow on this host: a replica that serves one version until it is ended."""

import time
from pathlib import Path
from subprocess import Popen
from typing import Self

from ..programs import LOCAL, end, free_port
from ..settings import CANARY, Track
from .gateway import Gateway, Place, serve

LEAVE_SECONDS = 0.5
"""That Envoy may take until it has read where it is not any more."""


class Candidate:
    """It has another address each time it starts, so that its counts are its own."""

    def __init__(self, gateway: Gateway, place: Place, version: str, track: Track = CANARY) -> None:
        """Take what it is.

        Args:
            gateway: In front of it.
            place: Where it runs.
            version: Of the model that it serves.
            track: What it is.
        """
        self._gateway, self._place, self._version = gateway, place, version
        self._track: Track = track
        self._url = ""
        self._running: Popen[bytes] | None = None

    @property
    def instance(self) -> str:
        """How Prometheus calls it: host and port."""
        return self._url.removeprefix("http://")

    @property
    def log(self) -> Path:
        """What it says."""
        return self._gateway.folder / f"{self._track}.log"

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._running is not None and self._running.poll() is None

    def start(self) -> None:
        """Start it, and let requests reach it.

        Raises:
            ProgramError: it does not become ready.
        """
        self._url = f"http://{LOCAL}:{free_port()}"
        given = {"ALIAS": self._version, "EXPERIMENT": ""}  # it serves one model
        self._running = serve(self._place, self._url, self._track, self.log, **given)
        self._gateway.place(self._track, self._url)

    def end(self) -> None:
        """Take all requests from it, and end it once those under way are answered."""
        self._gateway.route()
        # Before it says that it is not ready any more, at which Envoy would close its connections.
        self._gateway.place(self._track)
        if self._running:
            time.sleep(LEAVE_SECONDS)
            end(self._running)
            self._running = None

    def __enter__(self) -> Self:
        """Return it; it is not started yet, and gets no requests of one before it."""
        self._gateway.route()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.end()
