"""Releases on one host: `make gateway`, and `make canary VERSION=...` in front of it."""

import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from subprocess import Popen

from .. import registry, settings, slo
from ..errors import UserError
from ..monitoring.files import RULES
from ..observe.prometheus import Prometheus
from ..programs import address, only_one, wait_until_told
from ..project import Project
from ..registry import CHAMPION
from ..serving.command import claim
from ..settings import CANARY, PREFIX, Settings
from ..slo import Slo
from . import gateway, progress, record, report
from .candidate import Candidate
from .controller import PATIENCE_SECONDS, Controller, UnfinishedError
from .display import Display
from .gateway import FOLDER, Place, Watched, running_gateway
from .progress import Pace
from .record import WISHES, Release, Wish

SCRAPE_SECONDS = 5
LOCK = ".release.lock"
PAGE = "release.html"


PACE = Pace()
HERE = Place()


class NobodyError(UserError):
    """There is a release, and no controller of it."""


def run_gateway(project: Project) -> int:
    """Serve through Envoy until stopped; return the exit code."""
    try:
        configured, stated = settings.read(), slo.read()
        if not RULES.exists():
            raise UserError(f"There is no {RULES}: make rules.")
        watched = Watched(stated.job or project.name, RULES, SCRAPE_SECONDS)
        used = f"Another `make gateway` uses {FOLDER}."
        with (
            closing(claim(configured.host, configured.port, "PORT")),
            only_one(FOLDER / ".gateway.lock", used),
            running_gateway(FOLDER, configured, watched, HERE) as (_, programs),
        ):
            url = address(configured.host, configured.port)
            print(
                f"{url} answers through Envoy. Release another model: make canary VERSION=...; "
                "stop: Ctrl-C",
                flush=True,
            )
            wait_until_told(lambda: _require(programs))
    except UserError as error:
        print(f"Nothing is served. {error}", file=sys.stderr)
        return 1
    return 0


def _require(programs: Mapping[str, Popen[bytes]]) -> None:
    """See that clients are answered. Without Prometheus they are, and a release is rolled back."""
    for name, process in programs.items():
        if process.poll() is not None:
            raise UserError(f"{name} has ended; see {FOLDER}/{name}.log.")


def release(project: Project, name: str, pace: Pace = PACE, place: Place = HERE) -> int:
    """Release a version of the model beside stable; return the exit code.

    Args:
        project: Of the working folder.
        name: The version, or an alias of it.
        pace: How it goes on.
        place: Where the canary runs.
    """
    try:
        configured, stated = settings.read(), slo.read()
        job = stated.job or project.name
        with only_one(FOLDER / LOCK, "A release is under way; see it there, or end it there."):
            found = gateway.find(FOLDER, configured, job)
            server = Prometheus(found.addresses.prometheus)
            require_one_version(server, job)
            begun = _release(project, configured, stated, name)
            with Display(project.name, begun, pace, stated.release.least_requests) as display:
                controller = Controller(
                    found,
                    Candidate(found, place, begun.version),
                    project.contract,
                    configured.models_dir,
                    pace,
                    display.show,
                    PATIENCE_SECONDS + configured.poll_seconds,
                )
                ended = controller.run(begun)
            page = report.write(FOLDER / PAGE, server, stated, job, ended, project.name)
    except UnfinishedError as error:
        print(error, file=sys.stderr)
        return 1
    except UserError as error:
        print(f"Nothing was released. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStable answers all requests. The same command goes on where this one was.")
        raise
    print(f"{report.outcome(ended)}. What happened, and the plots: {page}")
    return 0 if ended.phase == "promoted" else 1


def require_one_version(server: Prometheus, job: str) -> None:
    """See that stable serves one model: it is what others are compared with.

    Raises:
        UserError: it serves another one, too.
    """
    if len(progress.served(server, job)) > 1:
        raise UserError(
            "Stable serves two models: an A/B test is on, or another model is just taking over. "
            f"Wait, or start make gateway without {PREFIX}EXPERIMENT."
        )


def play(project: Project) -> int:
    """Play a good release and bad ones; return the exit code."""
    from .demo.play import FOLDER as PLAYED
    from .demo.play import play

    try:
        with only_one(PLAYED / ".lock", f"Another `make canary` plays in {PLAYED}."):
            return play(project, slo.read())
    except UserError as error:
        print(f"The releases were not played to their end. {error}", file=sys.stderr)
        return 1


def wish(wanted: str) -> int:
    """Tell the release that is under way what a person wants; return the exit code."""
    try:
        found = next((each for each in WISHES if each == wanted), None)
        if found is None:
            raise UserError(f"DO: give one of {', '.join(WISHES)}.")
        print(_wish(found))
    except UserError as error:
        print(f"Nothing was changed. {error}", file=sys.stderr)
        return 1
    return 0


def _wish(wanted: Wish) -> str:
    """Tell a controller; what nobody goes on with is ended here.

    Raises:
        UserError: there is no release, or nobody who could do it.
    """
    known = record.read(FOLDER)
    if known is None or known.ended:
        raise UserError("No release is under way.")
    try:
        with only_one(FOLDER / LOCK, ""):
            if wanted != "abort":
                again = f"make canary VERSION={known.version}"
                raise NobodyError(f"Nobody goes on with {known.version}. First: {again}")
            return _abort(known)
    except NobodyError:
        raise
    except UserError:
        record.wish(FOLDER, wanted)
        return f"{known.version}: {wanted} is told."


def _abort(known: Release) -> str:
    """End a release that nobody goes on with."""
    record.write(FOLDER, progress.rolled_back(known, time.time(), ("aborted",)))
    with suppress(UserError):  # where there is no gateway, it shares nothing
        found = gateway.find(FOLDER, settings.read(), "")
        found.route()
        found.place(CANARY)
    if known.made:
        return f'{known.version} is the {CHAMPION} already. Undo that: make rollback WHY="..."'
    return f"{known.version} is rolled back; stable answers all requests."


def _release(project: Project, configured: Settings, stated: Slo, name: str) -> Release:
    """Return the release that begins, or the one that goes on.

    Raises:
        UserError: another one is under way, or this version cannot be released.
    """
    root, known = configured.models_dir, record.read(FOLDER)
    version = registry.history(root, name)[0]
    if known and not known.ended:
        if known.version != version:
            raise UserError(
                f"The release of {known.version} has not ended. Go on with it: make canary "
                f"VERSION={known.version}; or end it: make canary DO=abort."
            )
        return known
    if configured.alias != CHAMPION:
        raise UserError(f"{PREFIX}ALIAS: a release makes a version the {CHAMPION}: serve that.")
    champion = registry.history(root)[0]
    if version == champion:
        raise UserError(f"{version} is the {CHAMPION} already. Others: make models.")
    registry.require_schema(project.contract, registry.load(root, version)[1])
    record.take_wish(FOLDER)  # of a release before
    return record.began(version, champion, stated.release.weights)
