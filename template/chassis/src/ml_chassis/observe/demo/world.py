"""All that runs while the story is played."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import yaml

from ... import settings
from ...errors import UserError
from ...monitoring import metrics, panels
from ...monitoring.files import FOLDER, RULES
from ...monitoring.rules import drift
from ...programs import LOCAL, free_port
from ...settings import PREFIX, Settings
from ...slo import Slo
from ..prometheus import Prometheus
from ..servers import (
    ALERTMANAGER,
    PROMETHEUS,
    find,
    running_alertmanager,
    running_prometheus,
)
from ..site import Site, create_app, running_site
from .people import People
from .quicker import quicker, routes
from .replicas import Retrainer, Service
from .scene import Scene

FASTER = 60
"""A minute of the rules is a second."""
SCRAPE_SECONDS = 1
POLL_SECONDS = 0.2
PATIENCE_SECONDS = 300
"""A laptop takes a tenth of it for most parts."""
ROUTES = FOLDER / "alertmanager.yaml"
KEPT = f"{PREFIX}SOURCES"
"""Where the rows of the project are."""


class NotSoError(UserError):
    """The story does not go on as it should."""


class World(NamedTuple):
    """All of it.

    Attributes:
        scene: Where it runs.
        service: The service.
        retrainer: The retrainer; until it is started, alerts that ask for it ask nobody.
        prometheus: Which scrapes both, and evaluates the rules.
        people: Whom Alertmanager tells.
        patience_seconds: How long something may take until it is given up.
    """

    scene: Scene
    service: Service
    retrainer: Retrainer
    prometheus: Prometheus
    people: People
    patience_seconds: float

    def rows(self, version: str) -> float:
        """Return how many rows of a version Prometheus knows."""
        found = self.prometheus.ask(f'min({drift.ROWS}{{version="{version}"}})')
        return found[0].value if found else 0

    def drifted(self, version: str) -> set[str]:
        """Return what has drifted for a version."""
        above = self.prometheus.ask(f'{drift.PSI}{{version="{version}"}} > {drift.LIMIT}')
        return {each.labels["feature"] for each in above}

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something is so.

        Raises:
            NotSoError: it is not, in time.
        """
        give_up = time.monotonic() + self.patience_seconds
        while not condition():
            if time.monotonic() > give_up:
                logs = f"what the programs said is in {self.scene.copy.folder}/*.log"
                raise NotSoError(f"After {self.patience_seconds:g} seconds not yet: {what}; {logs}")
            time.sleep(POLL_SECONDS)


def require_all() -> None:
    """See that nothing is missing, before anything takes time.

    Raises:
        UserError: a program or a file is missing, or no alert can reach the retrainer.
    """
    for programs in (PROMETHEUS, ALERTMANAGER):
        find(programs)
    if not RULES.exists():
        raise UserError(f"There is no {RULES}: make rules.")
    if not ROUTES.exists():
        raise UserError(f"There is no {ROUTES}, which says who is told of alerts.")
    routes(yaml.safe_load(ROUTES.read_text(encoding="utf-8")), "", "")


@contextmanager
def running_world(
    scene: Scene, people: People, configured: Settings, stated: Slo, patience_seconds: float
) -> Iterator[World]:
    """Run all of it but the retrainer until the block ends.

    Args:
        scene: Where it runs.
        people: Whom Alertmanager tells.
        configured: Where the page is shown.
        stated: The objectives, of which the dashboards follow.
        patience_seconds: How long something may take until it is given up.

    Raises:
        UserError: a program does not start.
    """
    folder, name = scene.copy.folder, scene.copy.project.name
    job, service, retrainer = stated.job or name, Service(scene.copy), Retrainer(scene.copy)
    told, alertmanager = free_port(), free_port()
    with ExitStack() as stack:
        stack.callback(retrainer.end)
        stack.callback(service.end)
        service.start()
        faster = quicker(yaml.safe_load(RULES.read_text(encoding="utf-8")), FASTER)
        rules = folder / "rules.yaml"
        rules.write_text(yaml.safe_dump(faster, sort_keys=False), encoding="utf-8")
        prometheus = running_prometheus(
            folder,
            {job: [*service.urls, retrainer.url]},
            rules,
            seconds=SCRAPE_SECONDS,
            alertmanager=f"http://{LOCAL}:{alertmanager}",
        )
        server = Prometheus(stack.enter_context(prometheus))
        stack.enter_context(running_site(people.app, LOCAL, told))
        site = Site(server, name, job, panels.dashboards(stated), SCRAPE_SECONDS)
        address = (configured.host, configured.observe_port)
        stack.enter_context(running_site(create_app(site), *address))
        world = World(scene, service, retrainer, server, people, patience_seconds)
        # Before, it would be told that there is no service.
        seen = metrics.series_of(metrics.START)
        world.wait_until(lambda: bool(server.ask(seen)), "the service is scraped")
        written = yaml.safe_load(ROUTES.read_text(encoding="utf-8"))
        tells = routes(written, f"http://{LOCAL}:{told}", f"{retrainer.url}/alerts")
        stack.enter_context(running_alertmanager(folder, tells, alertmanager))
        yield world


@contextmanager
def default_settings() -> Iterator[None]:
    """Leave the settings of this process out of what is started: they are of the real service."""
    kept = {name: value for name, value in os.environ.items() if name.upper() == KEPT}
    with settings.only(kept):
        yield
