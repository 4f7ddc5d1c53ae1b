"""The containers of the tracks behind a gateway, as releases move them."""

import time
from contextlib import suppress
from pathlib import Path

from ...observe.servers import target
from ...programs import ProgramError
from ...settings import CANARY, STABLE, Track
from .. import gateway
from ..gateway import SERVICE, Gateway
from ..routes import Sharing
from .docker import SERVICES, Compose, Container

FOLDER = Path("build/compose")
PORT, METRICS_PORT = 3000, 9000
"""Of the service, in the network of the containers."""
FOUND_SECONDS = 30
LOOK_SECONDS = 2.0
"""Between two looks at a container."""


class Containers:
    """The tracks that a release moves, behind a gateway."""

    def __init__(self, gateway: Gateway, compose: Compose) -> None:
        """Take where they are.

        Args:
            gateway: In front of them.
            compose: Runs them.
        """
        self._gateway, self._compose = gateway, compose
        self._seen: dict[Track, tuple[float, Container | None]] = {}

    def look(self, track: Track) -> Container | None:
        """Return a container as it was lately; None where there is none."""
        at, found = self._seen.get(track, (0.0, None))
        if time.monotonic() - at > LOOK_SECONDS:
            with suppress(ProgramError):  # Docker does not answer for a while, and runs on
                found = self._compose.container(track)
            self._seen[track] = time.monotonic(), found
        return found

    def start(self, track: Track, image: str) -> Container:
        """Start one from an image, and wait until Envoy has found it.

        Raises:
            ProgramError: it does not become ready.
        """
        self._seen.clear()
        found = self._compose.start(track, image)
        watch(self._compose)
        self._gateway.wait_until_found(track, found.address, FOUND_SECONDS)
        return found

    def replace(self, before: str, image: str) -> None:
        """Start stable from another image; a canary of the same one answers meanwhile.

        Where stable cannot answer now, the canary does so already, and is left as it is.

        Args:
            before: What stable runs, and runs again if it cannot run the other one.
            image: The other one, or the same with other settings.

        Raises:
            ProgramError: it does not become ready.
        """
        if self.let_stable_answer():
            self.start(CANARY, image)
            self._gateway.route(Sharing(alone=True))
        try:
            self.start(STABLE, image)
        except ProgramError:
            self.start(STABLE, before)
            raise

    def remove(self, track: Track) -> None:
        """Stop one, and remove it."""
        self._seen.clear()
        self._compose.remove(track)
        watch(self._compose)

    def end_canary(self) -> bool:
        """Remove the canary, unless nothing else could answer: then it answers all.

        Returns:
            Whether stable answers all.
        """
        if can := self.let_stable_answer():
            self.remove(CANARY)
        else:
            self._gateway.route(Sharing(alone=True))
        return can

    def let_stable_answer(self) -> bool:
        """Let stable answer all requests; return whether it can."""
        found = self._compose.container(STABLE)
        if can := found is not None and found.healthy:
            self._gateway.route()
        return can


def watch(compose: Compose) -> None:
    """Let Prometheus scrape the tracks that there are."""
    found = ((track, compose.container(track)) for track in SERVICES)
    metrics = (
        target(f"http://{SERVICES[track]}:{METRICS_PORT}", instance=each.instance)
        for track, each in found
        if each
    )
    gateway.write_targets(FOLDER, SERVICE, [*metrics])
