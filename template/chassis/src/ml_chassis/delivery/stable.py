"""What answers clients before a release and after it."""

from typing import Protocol

from .. import registry
from ..contract import Contract
from ..errors import UserError
from ..observe.prometheus import Prometheus, PrometheusError
from ..storage import Root
from . import progress
from .gateway import Gateway
from .record import Release


class Stable(Protocol):
    """It serves a version until it takes what was released."""

    def is_other(self, *known: str) -> bool:
        """Return whether it is to serve none of these versions, as far as that is known."""
        ...

    def take(self, release: Release) -> None:
        """Let it serve what was released; again, that changes nothing.

        Raises:
            ProgramError: it cannot, and serves what it did.
            UserError: that is not possible now.
        """
        ...

    def serves(self, release: Release) -> bool:
        """Return whether it serves what was released, and not what it served before."""
        ...


class Follower:
    """A service that serves the champion of a registry, and takes another one without a start."""

    def __init__(self, gateway: Gateway, contract: Contract, models: Root) -> None:
        """Take what it needs.

        Args:
            gateway: In front of it.
            contract: The schema.
            models: The registry.
        """
        self._contract, self._models = contract, models
        self._server, self._job = Prometheus(gateway.addresses.prometheus), gateway.job

    def is_other(self, *known: str) -> bool:
        """Return whether the champion is none of these; see `Stable`."""
        try:
            return registry.history(self._models)[0] not in known
        except UserError:  # the registry does not answer, as may happen in days
            return False

    def take(self, release: Release) -> None:
        """Make it the champion; see `Stable`."""
        if registry.history(self._models)[0] != release.version:  # else it was done already
            why = f"Released as a canary beside {release.stable}: {release.events[-1].text}"
            registry.promote(self._contract, self._models, release.version, why)

    def serves(self, release: Release) -> bool:
        """Return whether Prometheus has seen it serve that alone; see `Stable`."""
        try:
            versions = progress.served(self._server, self._job)
        except PrometheusError:
            return False
        return release.version in versions and release.stable not in versions
