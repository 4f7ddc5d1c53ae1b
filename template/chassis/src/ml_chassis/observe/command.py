"""Show on a page what Prometheus sees of a service: `make observe`."""

import re
import sys
from contextlib import closing
from pathlib import Path

from pydantic import HttpUrl, ValidationError

from .. import settings, slo
from ..errors import UserError
from ..monitoring import panels
from ..monitoring.files import RULES, problems
from ..programs import address, answers, only_one, wait_until_told
from ..project import Project
from ..serving.command import claim
from ..settings import PREFIX, Settings
from ..slo import Slo
from .prometheus import Prometheus
from .servers import READY, running_prometheus
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
        service = _address(url) if url else _local(configured)
        name, folder = f"{PREFIX}OBSERVE_PORT", FOLDER / ("demo" if demo else _folder(service))
        used = f"Another `make observe` uses {folder}."
        with (
            closing(claim(configured.host, configured.observe_port, name)),
            only_one(FOLDER / f".{folder.name}.lock", used),
        ):
            if demo:
                from .demo import story

                return story.play(project, configured, stated, folder, _page(configured))
            folder.mkdir(exist_ok=True)
            _show(project, configured, stated, service, folder)
    except UserError as error:
        print(f"Nothing is shown. {error}", file=sys.stderr)
        return 1
    return 0


def _show(project: Project, configured: Settings, stated: Slo, service: str, folder: Path) -> None:
    if not RULES.exists():
        raise UserError(f"There is no {RULES}: make rules.")
    job = stated.job or project.name
    targets = {job: [service, address(configured.host, configured.retrainer_port)]}
    key = next(iter(configured.keys), "")
    # What Prometheus has read stays so until this is started anew.
    notes = [f"{each}." for each in problems(project)]
    with running_prometheus(folder, targets, RULES, seconds=SCRAPE_SECONDS, key=key) as found:
        shown = panels.dashboards(stated)
        site = Site(Prometheus(found), project.name, job, shown, SCRAPE_SECONDS, notes)
        with running_site(create_app(site), configured.host, configured.observe_port):
            for note in notes:
                print(f"Note: {note}")
            print(f"Prometheus: {found}")
            print(f"{_page(configured)} shows what it sees of {service}; stop: Ctrl-C", flush=True)
            wait_until_told(lambda: _require(found, folder))


def _require(prometheus: str, folder: Path) -> None:
    """See that Prometheus is there.

    Raises:
        UserError: it has ended.
    """
    if not answers(f"{prometheus}{READY}"):
        raise UserError(f"Prometheus does not answer any more; see {folder}/prometheus.log.")


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
        raise UserError(
            "--url: give the address of a service, such as http://localhost:3000; "
            f"the key that it wants stands in {PREFIX}API_KEYS."
        )
    return str(parts).rstrip("/").removesuffix("/metrics")


def _folder(service: str) -> str:
    """Return the name of the folder with what is known of a service, and of no other one."""
    return re.sub(r"[^a-zA-Z0-9.]+", "-", service)


def _page(configured: Settings) -> str:
    """Return the address of the page, as a browser on this machine opens it."""
    return address(configured.host, configured.observe_port)


def _local(configured: Settings) -> str:
    return address(configured.host, configured.metrics_port or configured.port)
