"""Show on a page what Prometheus sees of a service: `make observe`."""

import fcntl
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

from pydantic import HttpUrl, ValidationError

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
from .servers import READY, running_prometheus
from .site import Site, create_app, running_site

FOLDER = Path("build/observe")
SCRAPE_SECONDS = 5
LOOK_SECONDS = 5
EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - it is looked for, not listened on


def run(project: Project, url: str, demo: bool) -> int:
    """Show it until stopped, or play the story; return the exit code.

    Args:
        project: Of the working folder.
        url: Of the service; "" is the one that `make serve` runs here.
        demo: Whether the story is played.
    """
    try:
        configured, stated = settings.read(), slo.read()
        service = _address(url) if url else _local(configured)
        name = f"{PREFIX}OBSERVE_PORT"
        with closing(claim(configured.host, configured.observe_port, name)), _only_one():
            if demo:
                from .demo import story

                folder, shown = FOLDER / "demo", _page(configured)
                return story.play(project, configured, stated, folder, shown)
            _show(project, configured, stated, service)
    except UserError as error:
        print(f"Nothing is shown. {error}", file=sys.stderr)
        return 1
    return 0


def _show(project: Project, configured: Settings, stated: Slo, service: str) -> None:
    if not RULES.exists():
        raise UserError(f"There is no {RULES}: make rules.")
    job = stated.job or project.name
    targets = {job: [service, f"http://{_host(configured)}:{configured.retrainer_port}"]}
    key = next(iter(configured.keys), "")
    with running_prometheus(FOLDER, targets, RULES, seconds=SCRAPE_SECONDS, key=key) as found:
        shown = panels.dashboards(stated)
        site = Site(Prometheus(found), project.name, job, shown, SCRAPE_SECONDS)
        with running_site(create_app(site), configured.host, configured.observe_port):
            print(f"{_page(configured)} shows {service}, as {found} sees it; stop: Ctrl-C")
            _wait(found)


def _wait(prometheus: str) -> None:
    """Wait until this process is told to end.

    Raises:
        UserError: Prometheus has ended.
    """
    told = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    while not told.wait(LOOK_SECONDS):
        if not answers(f"{prometheus}{READY}"):
            raise UserError(f"Prometheus does not answer any more; see {FOLDER}/prometheus.log.")


@contextmanager
def _only_one() -> Iterator[None]:
    """Keep others away from the folder; when this process ends, it is free.

    Raises:
        UserError: another one runs.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"Another `make observe` uses {FOLDER}.") from None
        yield


def _address(url: str) -> str:
    """Return the address of a service.

    Raises:
        UserError: it is none.
    """
    try:
        parts = HttpUrl(url)
    except ValidationError:
        parts = None
    if not parts or parts.username or parts.password or parts.query or parts.fragment:
        raise UserError("--url: give the address of a service, such as http://localhost:3000.")
    return str(parts).rstrip("/")


def _page(configured: Settings) -> str:
    """Return the address of the page, as a browser on this machine opens it."""
    return f"http://{_host(configured)}:{configured.observe_port}"


def _local(configured: Settings) -> str:
    return f"http://{_host(configured)}:{configured.metrics_port or configured.port}"


def _host(configured: Settings) -> str:
    host = LOCAL if configured.host in EVERYWHERE else configured.host
    return f"[{host}]" if ":" in host else host
