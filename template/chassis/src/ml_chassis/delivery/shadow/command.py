"""A challenger behind the gateway that nobody is answered by: `make shadow VERSION=...`."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from rich.console import Console
from rich.status import Status

from ... import registry, settings, slo
from ...contract import Contract
from ...errors import UserError
from ...feedback.store import Store
from ...observe.prometheus import Prometheus, PrometheusError
from ...programs import only_one
from ...project import Project
from ...registry import CHAMPION
from ...settings import PREFIX, SHADOW, Settings
from ...slo import Slo
from .. import gateway
from .. import record as releases
from ..candidate import Candidate
from ..command import HERE, LOCK, require_one_version
from ..display import lasts
from ..gateway import FOLDER, Gateway, Place
from . import page, record
from .comparison import compare
from .page import About
from .record import Shadow
from .traffic import traffic

PAGE = "shadow.html"
MOST = 20_000
"""Requests that are compared, a random sample where there are more."""
TICK_SECONDS, LINE_SECONDS = 1.0, 60.0
"""Between two looks, and between two lines where there is no terminal."""
UNDER_WAY = "A release or another shadow is under way; see it there, or end it there."
WRITTEN_SECONDS = 15
"""For the last copies to be scraped, and the last predictions to be in the database."""

Show = Callable[[str], None]


def run(project: Project, name: str, share: int, seconds: float | None, place: Place = HERE) -> int:
    """Send a version copies of what stable is asked, and compare both; return the exit code.

    Args:
        project: Of the working folder.
        name: The version, or an alias of it.
        share: Percent of the requests for predictions that are copied.
        seconds: How long; None is until Ctrl-C.
        place: Where the shadow runs.
    """
    try:
        configured, stated = settings.read(), slo.read()
        _require_store(configured)
        with only_one(FOLDER / LOCK, UNDER_WAY):
            found = gateway.find(FOLDER, configured, stated.job or project.name)
            require_one_version(Prometheus(found.addresses.prometheus), found.job)
            begun = _begin(project, configured, name, share)
            ended = _mirror(found, begun, seconds, place)
            record.write(FOLDER, ended)
        return _report(project, configured, stated, ended)
    except UserError as error:
        print(f"There is no shadow. {error}", file=sys.stderr)
        return 1


def report(project: Project) -> int:
    """Write the report on the last shadow anew, with labels that came since; return the exit code.

    Args:
        project: Of the working folder.
    """
    try:
        configured = settings.read()
        _require_store(configured)
        return _report(project, configured, slo.read(), record.read(FOLDER))
    except UserError as error:
        print(f"There is no report. {error}", file=sys.stderr)
        return 1


def _require_store(configured: Settings) -> None:
    if not configured.feedback_url.get_secret_value():
        raise UserError(
            f"{PREFIX}FEEDBACK_URL: what both predict is kept there, and compared: set it to a "
            "database, here and for make gateway."
        )


def _begin(project: Project, configured: Settings, name: str, share: int) -> Shadow:
    """Return the shadow that begins.

    Raises:
        UserError: a release has not ended, or this version cannot be served.
    """
    known = releases.read(FOLDER)
    if known and not known.ended:
        raise UserError(
            f"The release of {known.version} has not ended. Go on with it: make canary "
            f"VERSION={known.version}; or end it: make canary DO=abort."
        )
    root = configured.models_dir
    version, champion = registry.history(root, name)[0], registry.history(root)[0]
    if version == champion:
        raise UserError(f"{version} is the {CHAMPION} itself. Others: make models.")
    registry.require_schema(project.contract, registry.load(root, version)[1])
    return Shadow(version=version, stable=champion, share=share, begun=time.time())


def _mirror(found: Gateway, shadow: Shadow, seconds: float | None, place: Place) -> Shadow:
    """Run it, and return it as it ended.

    Raises:
        ProgramError: it does not start.
    """
    server = Prometheus(found.addresses.prometheus)
    with Candidate(found, place, shadow.version, SHADOW) as candidate, _shown() as show:
        show(f"{shadow.version} starts.")
        candidate.start()
        record.write(FOLDER, shadow)
        found.route(mirrored=shadow.share)
        until = time.monotonic() + (seconds or float("inf"))
        with suppress(KeyboardInterrupt):
            while time.monotonic() < until and found.runs and candidate.runs:
                show(_seen(server, found.job, shadow))
                time.sleep(max(min(TICK_SECONDS, until - time.monotonic()), 0))
        if not candidate.runs:
            print(f"{shadow.version} has ended by itself; see {candidate.log}.", file=sys.stderr)
        found.route()
        show("It gets no copies any more; what it has answered is read.")
        _wait_for_scrape(server, candidate.instance)
        return shadow.model_copy(update={"ended": time.time()})


def _seen(server: Prometheus, job: str, shadow: Shadow) -> str:
    lasted = lasts(time.time() - shadow.begun)
    try:
        seen = traffic(server, job, SHADOW, shadow.begun, time.time())
    except PrometheusError as error:
        return f"{lasted}  {error}"
    slow = "" if seen.slow is None else f", 99 % within {1_000 * seen.slow:.3g} ms"
    failed = f"{seen.failed:.1%} of them failed" if seen.failed else "none of them failed"
    return f"{lasted}  {shadow.version} has answered {seen.requests:,.0f} copies, {failed}{slow}"


def _wait_for_scrape(server: Prometheus, instance: str) -> None:
    """Wait until Prometheus has seen the last copies."""
    now, give_up = time.time(), time.monotonic() + WRITTEN_SECONDS
    asked = f'timestamp(up{{instance="{instance}"}})'
    while time.monotonic() < give_up:
        with suppress(PrometheusError):
            if any(each.value > now for each in server.ask(asked)):
                return
        time.sleep(TICK_SECONDS)


@contextmanager
def _shown() -> Iterator[Show]:
    """Yield what shows a line: in its place in a terminal, else now and then."""
    console = Console(force_terminal=sys.stdout.isatty())
    if console.is_terminal:
        with Status("", console=console) as status:
            yield status.update
        return
    last = -LINE_SECONDS

    def show(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            print(line, flush=True)

    yield show


def _report(project: Project, configured: Settings, stated: Slo, shadow: Shadow) -> int:
    """Write the report, and say what was found; return the exit code."""
    about = _about(project.contract, configured, stated, shadow, stated.job or project.name)
    written = page.write(FOLDER / PAGE, about, _server(configured, about.job))
    print(f"{page.outcome(about)}. All of it: {written}")
    if about.compared is None:
        print(
            "Was anybody asking for predictions, and does make gateway have the same "
            f"{PREFIX}FEEDBACK_URL?",
            file=sys.stderr,
        )
        return 1
    return 0


def _about(
    contract: Contract, configured: Settings, stated: Slo, shadow: Shadow, job: str
) -> About:
    since = datetime.fromtimestamp(shadow.begun, UTC).replace(tzinfo=None)
    asked = shadow.stable, shadow.version, since
    store = Store(contract, configured.feedback_url.get_secret_value(), is_read=True)
    try:
        pairs, count = store.pairs(*asked, MOST), store.count_pairs(*asked)
    finally:
        store.close()
    manifest = registry.read_manifest(configured.models_dir, shadow.stable)
    decision = manifest.expected.decision if manifest.expected else None
    compared = compare(contract, decision, pairs) if pairs else None
    return About(contract, stated, decision, job, shadow, count, compared)


def _server(configured: Settings, job: str) -> Prometheus | None:
    """Return that of the gateway; None where none runs."""
    try:
        return Prometheus(gateway.find(FOLDER, configured, job).addresses.prometheus)
    except UserError:
        return None
