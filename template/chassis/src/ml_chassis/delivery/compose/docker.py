"""Docker Compose, as a command: what it runs, and from which image."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import UserError
from ...programs import ProgramError
from ...settings import CANARY, STABLE

COMPOSE = Path("deploy/compose.yaml")
SERVICES = {STABLE: "service", CANARY: "canary"}
"""The name in Compose of each track."""
IMAGES = {STABLE: "IMAGE", CANARY: "CANARY_IMAGE"}
"""Variable of the file that says which image a track runs."""
RECREATE = "Recreate"
"""Compose says it of what it would start anew."""
ERASE = "\x1b[2K"
"""Compose writes it before lines of a log, also where there is no terminal."""
WAIT = ("--wait", "--wait-timeout=120")


class Container(NamedTuple):
    """A container of a track.

    Attributes:
        id: Its number.
        image: The name of its image, as that was given.
        content: The number of its image, which no other one has.
        address: In the network of the file; "" while it does not run.
        runs: Whether it does.
        healthy: Whether its health check says so, too.
    """

    id: str
    image: str
    content: str
    address: str
    runs: bool
    healthy: bool

    @property
    def instance(self) -> str:
        """How Prometheus calls it: another container has counts of its own."""
        return self.id[:12]


class Compose:
    """What runs by deploy/compose.yaml, each track from an image."""

    def __init__(self, images: Mapping[str, str] = {}) -> None:
        """Take which images the tracks are to have.

        Args:
            images: By track; without one, that which is there, or what the file says.
        """
        self._images = {**images}

    def up(self, *services: str, options: tuple[str, ...] = ()) -> None:
        """Start services, and wait until they are healthy.

        Raises:
            ProgramError: one is not.
            UserError: Docker cannot be used.
        """
        self._compose("up", "--detach", *WAIT, *options, *services, is_seen=True, profiles=())

    def start(self, track: str, image: str) -> Container:
        """Start a track from an image, and return its container once it is healthy.

        Raises:
            ProgramError: it does not become so.
            UserError: Docker cannot be used.
        """
        self._images[track] = image
        try:
            self._compose("up", "--detach", "--no-deps", *WAIT, SERVICES[track])
        except ProgramError as error:
            said = self._compose("logs", "--no-log-prefix", "--tail=5", SERVICES[track])
            plain = said.replace(ERASE, "")
            raise ProgramError(f"{error}\n{plain}".strip()) from None
        found = self.container(track)
        if found is None:
            raise ProgramError(f"The container of {SERVICES[track]} is gone.")
        return found

    def image(self, track: str) -> str:
        """Return the image that a track is to have."""
        return str(self.services()[SERVICES[track]]["image"])

    def is_current(self, track: str) -> bool:
        """Return whether what runs is as the file and the settings have it now."""
        told = self._compose(
            "up", "--detach", "--no-deps", "--dry-run", SERVICES[track], is_all=True
        )
        return RECREATE not in told

    def remove(self, track: str) -> None:
        """Stop a track, and remove its container."""
        self._compose("rm", "--stop", "--force", SERVICES[track])

    def signal(self, name: str, service: str) -> None:
        """Send a signal to a service."""
        self._compose("kill", "--signal", name, service)

    def down(self) -> None:
        """Stop all of it; what was written to volumes stays."""
        self._compose("down", is_seen=True)

    def container(self, track: str) -> Container | None:
        """Return the container of a track; None where there is none.

        While one takes the place of another there are two: the one that runs counts.
        """
        numbers = self._compose("ps", "--all", "--quiet", SERVICES[track]).split()
        found = [each for number in numbers if (each := _container(number))]
        return max(found, key=lambda each: (each.runs, each.healthy), default=None)

    def services(self) -> dict[str, Any]:
        """Return what the file says of each service, with all variables in their places."""
        found: dict[str, Any] = json.loads(self._compose("config", "--format", "json"))
        return dict(found["services"])

    def _compose(
        self,
        *arguments: str,
        is_seen: bool = False,
        is_all: bool = False,
        profiles: tuple[str, ...] = (CANARY,),
    ) -> str:
        named = [f"--profile={each}" for each in profiles]
        command = ("docker", "compose", "--file", str(COMPOSE), *named, *arguments)
        given = {IMAGES[track]: image for track, image in self._images.items() if image}
        return _run(*command, environment=given, is_seen=is_seen, is_all=is_all)


def _container(number: str) -> Container | None:
    """Return what is known of a container; None where it is gone meanwhile."""
    try:
        (seen,) = json.loads(_run("docker", "inspect", number))
    except ProgramError:
        return None
    state, networks = seen["State"], seen["NetworkSettings"]["Networks"].values()
    return Container(
        seen["Id"],
        seen["Config"]["Image"],
        seen["Image"],
        next((each["IPAddress"] for each in networks), ""),
        state["Running"],
        state["Running"] and state.get("Health", {}).get("Status") == "healthy",
    )


def content(image: str) -> str:
    """Return the number of an image, which is pulled if it is not here.

    Raises:
        UserError: there is no such image.
    """
    try:
        return _run("docker", "image", "inspect", "--format", "{{.Id}}", image)
    except ProgramError:
        pass
    try:
        _run("docker", "pull", image, is_seen=True)
        return _run("docker", "image", "inspect", "--format", "{{.Id}}", image)
    except ProgramError as error:
        raise UserError(f"{image}: {error}") from None


def _run(
    *command: str,
    environment: Mapping[str, str] = {},
    is_seen: bool = False,
    is_all: bool = False,
) -> str:
    """Run a command; return what it printed.

    Args:
        command: Its name and arguments.
        environment: More variables.
        is_seen: Whether a person sees what it does.
        is_all: Whether what it says of that is returned, too.

    Raises:
        ProgramError: it fails; the message is what it said last.
        UserError: there is no Docker.
    """
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=None if is_seen else subprocess.STDOUT if is_all else subprocess.PIPE,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise UserError(
            "Docker is not installed: https://docs.docker.com/engine/install. Without it: make "
            "gateway."
        ) from None
    if done.returncode:
        said = ((done.stderr or "") + done.stdout).strip().splitlines()
        raise ProgramError(said[-1] if said else f"{' '.join(command[:2])} has failed; see above.")
    return done.stdout.strip()
