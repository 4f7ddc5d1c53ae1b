"""All that runs while the story is played: each a process of its own, as in production."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from subprocess import Popen
from typing import Any, NamedTuple, Self

import httpx
import yaml
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ...errors import UserError
from ...monitoring import panels
from ...monitoring.files import FOLDER, RULES
from ...monitoring.rules import drift
from ...programs import LOCAL, ProgramError, answers, end, free_port, running, start
from ...registry import MODEL_FILE, history
from ...settings import PREFIX
from ...slo import Slo
from ..prometheus import Prometheus
from ..servers import running_alertmanager, running_prometheus
from ..site import Site, create_app, running_site
from .quicker import quicker, routes
from .scene import Scene

FASTER = 60
"""A minute of the rules is a second."""
SCRAPE_SECONDS = 1
POLL_SECONDS = 0.2
ALERTMANAGER = FOLDER / "alertmanager.yaml"


class NotSoError(UserError):
    """The story does not go on as it should."""


class World(NamedTuple):
    """All of it.

    Attributes:
        scene: Where it runs.
        service: The service.
        retrainer: Address of the retrainer.
        prometheus: Which scrapes both, and evaluates the rules.
        people: Whom Alertmanager tells.
    """

    scene: Scene
    service: "Service"
    retrainer: str
    prometheus: Prometheus
    people: "People"

    def champion(self) -> str:
        """Return the version that is named so."""
        return history(self.scene.folder / "models")[0]

    def rows(self, version: str) -> float:
        """Return how many rows of a version Prometheus knows."""
        found = self.prometheus.ask(f'min({drift.ROWS}{{version="{version}"}})')
        return found[0].value if found else 0

    def retraining(self) -> dict[str, Any]:
        """Return what came of the last retraining, or {}."""
        told = httpx.get(self.retrainer, trust_env=False).raise_for_status().json()
        ended = [each for each in told["retrainings"] if each["outcome"] != "declined"]
        return dict(ended[0]) if ended else {}


class Told(NamedTuple):
    """What somebody was told of an alert.

    Attributes:
        at: Unix time in seconds.
        receiver: Who was told, by the name in monitoring/alertmanager.yaml.
        fires: Whether it fires; else it has ended.
        labels: What it is about.
        summary: What is so.
    """

    at: float
    receiver: str
    fires: bool
    labels: dict[str, str]
    summary: str

    @property
    def about(self) -> str:
        """How the alert is called, and of which feature it is."""
        return " ".join(filter(None, (self.labels["alertname"], self.labels.get("feature"))))

    def ends(self, other: Self) -> bool:
        """Return whether this says that another one has ended."""
        same = (self.receiver, self.labels) == (other.receiver, other.labels)
        return same and not self.fires

    @property
    def sentence(self) -> str:
        """What is said."""
        return f"{self.about} fires: {self.summary}" if self.fires else f"{self.about} has ended"


class People:
    """Who are told by Alertmanager: they remember it, and say it on."""

    def __init__(self, say: Callable[[Told], None]) -> None:
        """Take whom they say it to."""
        self.told = list[Told]()
        self._say = say
        self._firing = dict[tuple[str, frozenset[tuple[str, str]]], Told]()
        self._alone = threading.Lock()

    def firing(self, **labels: str) -> set[str]:
        """Return the alerts with these labels that fire, as far as people know."""
        with self._alone:
            found = [*self._firing.values()]
        return {each.about for each in found if labels.items() <= each.labels.items()}

    async def take(self, request: Request) -> Response:
        """Take a notification of Alertmanager, of which a part is not new."""
        receiver = request.path_params["receiver"]
        for each in (await request.json())["alerts"]:
            fires = each["status"] == "firing"
            summary = each["annotations"].get("summary", "")
            told = Told(time.time(), receiver, fires, each["labels"], summary)
            key = (receiver, frozenset(told.labels.items()))
            if fires != (key in self._firing):
                with self._alone:
                    self._firing.pop(key, None)
                    if fires:
                        self._firing[key] = told
                self.told.append(told)
                self._say(told)
        return PlainTextResponse("")


class Service:
    """The service: one replica, and for a moment another one that replaces it."""

    def __init__(self, scene: Scene) -> None:
        """Choose the ports of both."""
        self.urls = [f"http://{LOCAL}:{free_port()}" for _ in range(2)]
        self._scene = scene
        self._running: Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers now."""
        return self.urls[0]

    def start(self) -> None:
        """Start it.

        Raises:
            ProgramError: it does not become ready.
        """
        self._running = self._started(self.url)

    @property
    def runs(self) -> bool:
        """Whether it does: without a model and a fallback it cannot."""
        return self._running is not None

    def end(self) -> None:
        """End it, where it runs."""
        if self._running:
            end(self._running)
            self._running = None

    @contextmanager
    def without_model(self) -> Iterator[None]:
        """Damage the registry until the block ends, and replace the replica, then and afterwards.

        The new one answers by the fallback; without one it does not start.
        """
        models = self._scene.folder / "models"
        graph = models / history(models)[0] / MODEL_FILE
        whole = graph.read_bytes()
        graph.write_bytes(whole[: len(whole) // 2])
        try:
            with suppress(ProgramError):
                self._replace()
            yield
        finally:
            graph.write_bytes(whole)
        self._replace()

    def _replace(self) -> None:
        """Start another replica, and end the one of before, whatever becomes of the other."""
        before, self._running = self._running, None
        try:
            self._running = self._started(self.urls[1])
        finally:
            self.urls.reverse()
            if before:
                end(before)

    def _started(self, url: str) -> Popen[bytes]:
        port, folder = url.rpartition(":")[2], self._scene.folder
        given = {
            "BENTOML_HOME": str(folder / ".bentoml" / port),
            f"{PREFIX}PORT": port,
            f"{PREFIX}DRAIN_SECONDS": "0",
        }
        return start(
            [sys.executable, "-m", "ml_chassis", "serve"],
            lambda: answers(f"{url}/readyz"),
            log=folder / f"service-{port}.log",
            folder=folder,
            environment={**self._scene.environment, **given},
        )


@contextmanager
def running_world(
    scene: Scene, stated: Slo, people: "People", name: str, host: str, port: int
) -> Iterator[World]:
    """Run all of it until the block ends.

    Args:
        scene: Where it runs.
        stated: The objectives, of which the rules and the dashboards follow.
        people: Whom Alertmanager tells.
        name: Of the service.
        host: Where the page is shown.
        port: Likewise.

    Raises:
        UserError: a program is missing, or does not start.
    """
    folder, job = scene.folder, stated.job or name
    with ExitStack() as stack:
        service = Service(scene)
        stack.callback(service.end)
        service.start()
        retrainer = stack.enter_context(_running_retrainer(scene))
        told = f"http://{LOCAL}:{port}/told"
        written = yaml.safe_load((folder / ALERTMANAGER).read_text(encoding="utf-8"))
        alertmanager = stack.enter_context(
            running_alertmanager(folder, routes(written, told, f"{retrainer}/alerts"))
        )
        rules = folder / "rules.yaml"
        faster = quicker(yaml.safe_load((folder / RULES).read_text(encoding="utf-8")), FASTER)
        rules.write_text(yaml.safe_dump(faster, sort_keys=False), encoding="utf-8")
        targets = {job: [*service.urls, retrainer]}
        url = stack.enter_context(
            running_prometheus(
                folder, targets, rules, seconds=SCRAPE_SECONDS, alertmanager=alertmanager
            )
        )
        server = Prometheus(url)
        site = Site(server, name, job, panels.dashboards(stated), SCRAPE_SECONDS)
        take = Route("/told/{receiver}", people.take, methods=["POST"])
        stack.enter_context(running_site(create_app(site, take), host, port))
        yield World(scene, service, retrainer, server, people)


@contextmanager
def _running_retrainer(scene: Scene) -> Iterator[str]:
    port = free_port()
    url = f"http://{LOCAL}:{port}"
    command = [sys.executable, "-m", "ml_chassis", "retrainer"]
    given = {**scene.environment, f"{PREFIX}RETRAINER_PORT": str(port)}
    log = scene.folder / "retrainer.log"
    ready = f"{url}/readyz"
    with running(command, lambda: answers(ready), log=log, folder=scene.folder, environment=given):
        yield url


@contextmanager
def default_settings() -> Iterator[None]:
    """Leave the settings of this process out of what is started: they are of the real service."""
    own = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith(PREFIX)}
    try:
        yield
    finally:
        os.environ.update(own)


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until something is so.

    Raises:
        NotSoError: it is not, in time.
    """
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise NotSoError(f"This did not come within {seconds:g} seconds: {what}.")
        time.sleep(POLL_SECONDS)
