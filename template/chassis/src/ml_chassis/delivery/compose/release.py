"""Another image beside the one that serves, until it takes its place: `make canary IMAGE=...`."""

import os
from typing import Self

from ... import slo
from ...errors import UserError
from ...observe.prometheus import Prometheus
from ...programs import ProgramError, only_one
from ...project import Project
from ...settings import CANARY, STABLE
from ...slo import Slo
from .. import progress, record
from ..command import LOCK, PACE, UNDER_WAY, bring_to_its_end, require_one_version, tell
from ..controller import Controller
from ..progress import Pace
from ..record import Release
from . import host
from .containers import FOLDER, Containers
from .docker import SERVICES, Compose, Container, content
from .host import BEGIN, IMAGE, READABLE


class ImageCanary:
    """A container of an image, beside stable; see `Canary` of the controller."""

    def __init__(self, containers: Containers, release: Release) -> None:
        """Take what it is.

        Args:
            containers: What runs.
            release: What is released.
        """
        self._containers, self._release = containers, release
        self._started: Container | None = None

    @property
    def instance(self) -> str:
        """How Prometheus calls it."""
        return self._started.instance if self._started else ""

    @property
    def runs(self) -> bool:
        """Whether its container runs."""
        found = self._containers.look(CANARY)
        return bool(found and found.runs and self._started and found.id == self._started.id)

    def start(self) -> None:
        """Start it, and let requests reach it.

        Raises:
            ProgramError: it does not become ready.
        """
        _require_same(self._release)
        self._started = self._containers.start(CANARY, self._release.version)

    def __enter__(self) -> Self:
        """Return it; what stable can answer, it does."""
        self._containers.let_stable_answer()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it, unless nothing else could answer."""
        self._containers.end_canary()


class ImageStable:
    """The container that answers clients, and takes another image; see `Stable`."""

    def __init__(self, containers: Containers) -> None:
        """Take what runs."""
        self._containers = containers

    def is_other(self, *known: str) -> bool:
        """Return whether it runs none of these images."""
        found = self._containers.look(STABLE)
        return found is not None and found.image not in known

    def take(self, release: Release) -> None:
        """Start it from the image of the canary, which answers meanwhile; see `Stable`."""
        _require_same(release)
        self._containers.replace(release.stable, release.version)

    def serves(self, release: Release) -> bool:
        """Return whether it runs what was released, and is healthy."""
        found = self._containers.look(STABLE)
        return found is not None and found.healthy and found.image == release.version


def release(project: Project, image: str, pace: Pace = PACE) -> int:
    """Release an image beside the one that stable runs; return the exit code.

    Args:
        project: Of the working folder.
        image: Its name.
        pace: How it goes on.
    """
    return tell(lambda: _release(project, slo.read(), image, pace), FOLDER)


def _release(project: Project, stated: Slo, image: str, pace: Pace) -> Release:
    os.umask(READABLE)  # by the users of the containers, too
    with only_one(FOLDER / LOCK, UNDER_WAY):
        found, compose = host.find(stated.job or project.name)
        require_one_version(Prometheus(found.addresses.prometheus), found.job)
        begun = _begin(compose, stated, image)
        containers = Containers(found, compose)
        canary, stable = ImageCanary(containers, begun), ImageStable(containers)
        return bring_to_its_end(
            begun, found, stated, pace, lambda show: Controller(found, canary, stable, pace, show)
        )


def _begin(compose: Compose, stated: Slo, image: str) -> Release:
    """Return the release that begins, or the one that goes on.

    Raises:
        UserError: another one is under way, or this image cannot be released.
    """
    known = record.read(FOLDER)
    if known and not known.ended:
        if known.version != image:
            raise UserError(record.unfinished(known, IMAGE))
        return known
    stable = compose.container(STABLE)
    if stable is None or not stable.healthy:
        raise UserError(f"{SERVICES[STABLE]}, with which it is compared, is not healthy: {BEGIN}.")
    found = content(image)
    if found == stable.content:
        raise UserError(f"{image} is what stable runs already.")
    if image == stable.image:
        raise UserError(
            f"{image} is the name of what stable runs, too: what is released and what it could be "
            "taken back to need names of their own. Give it another tag, or its digest."
        )
    record.take_wish(FOLDER)  # of a release before
    return record.began(image, stable.image, stated.release.weights, found)


def _require_same(release: Release) -> None:
    """See that the name of an image means what it did when the release began.

    Raises:
        ProgramError: it does not.
    """
    if content(release.version) != release.content:
        raise ProgramError(f"{release.version} names another image since the release began.")


def abort(known: Release) -> str:
    """End a release that nobody goes on with, and say so.

    Raises:
        UserError: what shares the requests does not run.
    """
    os.umask(READABLE)
    found, compose = host.find("")
    progress.abort(FOLDER)
    containers = Containers(found, compose)
    serving = compose.container(STABLE)
    if known.made:
        told = f"{known.version} is stable already. Undo that: make up IMAGE={known.stable}"
    else:
        told = f"{known.version} is rolled back."
        if serving and serving.healthy and serving.image != known.stable:
            containers.replace(serving.image, known.stable)
        elif not (serving and serving.healthy):
            containers.start(STABLE, known.stable)
    if containers.end_canary():
        return f"{told} Stable answers all requests."
    return f"{told} Stable is not healthy, so the canary answers: {BEGIN}."
