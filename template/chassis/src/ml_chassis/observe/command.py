"""Show on a page what Prometheus sees of a service: `make observe`."""

import signal
import sys
import threading
from contextlib import closing
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from .. import settings, slo
from ..errors import UserError
from ..monitoring import panels
from ..monitoring.files import RULES
from ..programs import LOCAL, answers
from ..project import Project
from ..serving.command import claim
from ..settings import PREFIX, Settings
from ..slo import Slo
from .prometheus import Prometheus
from .servers import running_prometheus
from .site import Site, create_app, running_site

FOLDER = Path("build/observe")
SCRAPE_SECONDS = 5


def run(project: Project, url: str, demo: bool) -> int:
    """Show it until stopped, or play the story; return the exit code.

    Args:
        project: Of the working folder.
        url: Of the service; "" is the one that `make serve` runs here.
        demo: Whether the story is played.
    """
    try:
        configured, stated = settings.read(), slo.read()
        name = f"{PREFIX}OBSERVE_PORT"
        with closing(claim(configured.host, configured.observe_port, name)):
            if demo:
                from .demo import story

                return story.play(project, configured, stated, FOLDER / "demo")
            _show(project, configured, stated, url)
    except UserError as error:
        print(f"Nothing is shown. {error}", file=sys.stderr)
        return 1
    return 0


def _show(project: Project, configured: Settings, stated: Slo, url: str) -> None:
    if not RULES.exists():
        raise UserError(f"There is no {RULES}: make rules.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    job = stated.job or project.name
    service = url.rstrip("/") or f"http://{LOCAL}:{configured.metrics_port or configured.port}"
    if urlsplit(service).scheme not in {"http", "https"} or not urlsplit(service).netloc:
        raise UserError(f"{url}: give the address of a service, such as http://localhost:3000.")
    targets = {job: [service, f"http://{LOCAL}:{configured.retrainer_port}"]}
    key = next(iter(configured.keys), "")
    with running_prometheus(FOLDER, targets, RULES, seconds=SCRAPE_SECONDS, key=key) as found:
        shown = panels.dashboards(stated)
        site = Site(Prometheus(found), project.name, job, shown, SCRAPE_SECONDS)
        with running_site(create_app(site), configured.host, configured.observe_port):
            here = f"http://{configured.host}:{configured.observe_port}"
            print(f"{here} shows {service}, as {found} sees it.")
            if not answers(f"{service}/metrics"):
                print(f"Nothing answers at {service}/metrics yet: make serve.", file=sys.stderr)
            _wait()


def _wait() -> None:
    """Wait until this process is told to end."""
    told = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    told.wait()
