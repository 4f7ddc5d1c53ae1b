"""What runs on one host so that releases can be made: the service behind Envoy, and Prometheus."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from .. import storage
from ..errors import UserError, describe
from ..observe.servers import READY, running_prometheus, target
from ..programs import LOCAL, POLL_SECONDS, ProgramError, address, answers, end, free_port, start
from ..settings import CANARY, PREFIX, STABLE, Settings
from . import envoy
from .routes import Sharing

FOLDER = Path("build/gateway")
ADDRESSES = "gateway.json"
SERVE = (sys.executable, "-m", "ml_chassis", "serve")
SERVICE, ENVOY = "service", "envoy"
ROUTED_SECONDS = 10
"""For Envoy to follow other routes; one that does not answer has none."""
TARGETS = "targets"
"""Folder of the files that say what Prometheus scrapes."""
EDGE = "-gateway"
"""What stands behind the job of the service in that of Envoy."""


class Addresses(BaseModel):
    """Where the parts of a gateway are.

    Attributes:
        service: Whom clients ask.
        stable: What answers them.
        envoy: What shares their requests: its administration.
        prometheus: What scrapes both tracks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: str
    stable: str
    envoy: str
    prometheus: str


class Place(NamedTuple):
    """Where a replica of the service runs.

    Attributes:
        folder: Working folder, the root of a project.
        environment: More variables.
        command: What serves there.
    """

    folder: Path = Path()
    environment: Mapping[str, str] = {}
    command: Sequence[str] = SERVE


class Watched(NamedTuple):
    """How a gateway is watched.

    Attributes:
        job: How Prometheus calls the service.
        rules: What it evaluates.
        scrape_seconds: Between two scrapes.
    """

    job: str
    rules: Path
    scrape_seconds: int


class Gateway:
    """A gateway of this host, as one who makes a release sees it."""

    def __init__(self, folder: Path, addresses: Addresses, configured: Settings, job: str) -> None:
        """Take where it is.

        Args:
            folder: Of its files.
            addresses: Where its parts are.
            configured: As it was started.
            job: How Prometheus calls the service.
        """
        self.folder, self.addresses, self.job = folder, addresses, job
        self._configured = configured

    def route(self, sharing: Sharing = envoy.ALONE) -> None:
        """Share the requests, and wait until they are; without a word, stable answers all."""
        if self.runs:
            version = envoy.write_routes(self.folder, self._configured, sharing)
            give_up = time.monotonic() + ROUTED_SECONDS
            while envoy.version(self.addresses.envoy) != version and time.monotonic() < give_up:
                time.sleep(POLL_SECONDS)

    def place(self, track: str, url: str = "") -> None:
        """Say to Envoy and Prometheus where the canary or the shadow is; "" is nowhere."""
        if self.runs:
            beside = [self.addresses.stable] if track == CANARY else []
            envoy.write_endpoints(self.folder, track, *filter(None, [url, *beside]))
            urls = filter(None, (self.addresses.stable, url))
            write_targets(self.folder, SERVICE, [target(each) for each in urls])

    def wait_until_found(self, track: str, host: str, seconds: float) -> None:
        """Wait until Envoy has found a track, which is known by name, at this address alone.

        Raises:
            ProgramError: it has not after so many seconds.
        """
        give_up = time.monotonic() + seconds
        while envoy.hosts(self.addresses.envoy, track) != {host}:
            if time.monotonic() > give_up:
                raise ProgramError(f"Envoy does not find {track} at {host}.")
            time.sleep(POLL_SECONDS)

    @property
    def runs(self) -> bool:
        """Whether it has not ended; another one may run in its place, of which nothing is known."""
        try:
            return read(self.folder) == self.addresses
        except UserError:
            return False


def find(folder: Path, configured: Settings, job: str) -> Gateway:
    """Return the gateway of a folder, which somebody runs.

    Raises:
        UserError: nobody does, or a part of it does not answer.
    """
    addresses = read(folder)
    parts = {"envoy": f"{addresses.envoy}/ready", "prometheus": f"{addresses.prometheus}{READY}"}
    for name, url in parts.items():
        if not answers(url):
            raise UserError(
                f"{name} does not answer; see {folder}/{name}.log, and start all of it anew: make "
                "gateway."
            )
    return Gateway(folder, addresses, configured, job)


def read(folder: Path, begin: str = "make gateway") -> Addresses:
    """Return where the parts of a gateway are.

    Args:
        folder: Of its files.
        begin: The command that starts one.

    Raises:
        UserError: there is none.
    """
    path = folder / ADDRESSES
    try:
        return Addresses.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"There is no gateway that could share requests: {begin}.") from None
    except ValidationError as error:
        raise UserError(f"{path}: {describe(error)}. Start it anew: {begin}.") from None


def write(folder: Path, addresses: Addresses) -> None:
    """Say where the parts of a gateway are."""
    text = addresses.model_dump_json(indent=2) + "\n"
    storage.write(folder, ADDRESSES, text.encode())


def serve(place: Place, url: str, track: str, log: Path, **settings: str) -> Popen[bytes]:
    """Start a replica on this machine, and wait until it is ready.

    Args:
        place: Where it runs.
        url: Where it answers.
        track: Which one it is of.
        log: Takes what it says.
        settings: More of its settings, by their names.

    Raises:
        ProgramError: it does not become ready.
    """
    return start(
        place.command,
        lambda: answers(f"{url}/readyz"),
        log=log,
        folder=place.folder,
        environment=_environment(place, url, track, settings),
        apart=True,  # else Ctrl-C would end it before its requests are taken from it
    )


@contextmanager
def running_gateway(
    folder: Path, configured: Settings, watched: Watched, place: Place
) -> Iterator[tuple[Gateway, dict[str, Popen[bytes]]]]:
    """Run all of it until the block ends.

    Args:
        folder: Takes the files.
        configured: Where it answers clients, and how.
        watched: How it is watched.
        place: Where the service runs.

    Yields:
        The gateway, and the processes without which no client is answered, by their names.

    Raises:
        ProgramError: a part does not start.
        UserError: a program is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stable = f"http://{LOCAL}:{free_port()}"
    with ExitStack() as stack:
        running = envoy.running_envoy(folder, configured, stable)
        admin, edge = stack.enter_context(running)
        service = serve(place, stable, STABLE, folder / "stable.log")
        stack.callback(end, service)
        write_targets(folder, SERVICE, [target(stable)])
        write_targets(folder, ENVOY, [target(admin, envoy.STATS)])
        prometheus = running_prometheus(
            folder,
            jobs(folder.absolute(), watched.job),
            watched.rules,
            seconds=watched.scrape_seconds,
            key=next(iter(configured.keys), ""),
        )
        found = Addresses(
            service=address(configured.host, configured.port),
            stable=stable,
            envoy=admin,
            prometheus=stack.enter_context(prometheus),
        )
        write(folder, found)
        stack.callback((folder / ADDRESSES).unlink, missing_ok=True)
        yield Gateway(folder, found, configured, watched.job), {"stable": service, "envoy": edge}


def _environment(place: Place, url: str, track: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a replica."""
    host, port = url.removeprefix("http://").split(":")
    given = {"HOST": host, "PORT": port, "METRICS_PORT": "0", "TRACK": track, "GATEWAY": "yes"}
    given |= settings
    home = place.folder.absolute() / ".bentoml" / track
    named = {f"{PREFIX}{name}": value for name, value in given.items()}
    return {**place.environment, **named, "BENTOML_HOME": str(home)}


def jobs(folder: Path, job: str) -> dict[str, Path]:
    """Return the jobs of Prometheus, each with the file of its targets.

    Args:
        folder: Of the gateway, as Prometheus finds it.
        job: How Prometheus calls the service.
    """
    return {job: _targets(folder, SERVICE), f"{job}{EDGE}": _targets(folder, ENVOY)}


def write_targets(folder: Path, name: str, targets: Sequence[object]) -> None:
    """Say what Prometheus scrapes, of the service or of Envoy."""
    path = _targets(folder, name)
    storage.write(path.parent, path.name, json.dumps(targets, indent=1).encode())


def _targets(folder: Path, name: str) -> Path:
    return folder / TARGETS / f"{name}.json"
