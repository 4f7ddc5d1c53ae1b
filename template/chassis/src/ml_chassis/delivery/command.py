"""Releases on one host: `make gateway`, and `make canary VERSION=...` in front of it."""

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
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
from .controller import PATIENCE_SECONDS, Controller, Show, UnfinishedError
from .display import Display
from .gateway import FOLDER, Gateway, Place, Watched, running_gateway
from .progress import Pace
from .record import WISHES, Release, Wish
from .stable import Follower

SCRAPE_SECONDS = 5
LOCK = ".release.lock"
UNDER_WAY = "A release, a shadow or an A/B test is under way; see it there, or end it there."
PAGE = "release.html"
VERSION = "VERSION"


PACE = Pace()
HERE = Place()


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
    return tell(lambda: _release(project, name, pace, place), FOLDER)


def tell(bring: Callable[[], Release], folder: Path) -> int:
    """Bring a release to its end, say what came of it, and return the exit code.

    Args:
        bring: Does it; see `bring_to_its_end`.
        folder: Of the gateway.
    """
    try:
        ended = bring()
    except UnfinishedError as error:
        print(error, file=sys.stderr)
        return 1
    except UserError as error:
        print(f"Nothing was released. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe release has not ended: the same command goes on where this one was.")
        raise
    print(f"{report.outcome(ended)}. What happened, and the plots: {folder / PAGE}")
    return 0 if ended.phase == "promoted" else 1


def bring_to_its_end(
    begun: Release, found: Gateway, stated: Slo, pace: Pace, make: Callable[[Show], Controller]
) -> Release:
    """Bring a release to its end while it is shown, write the page about it, and return it.

    Args:
        begun: As it is now.
        found: The gateway.
        stated: The objectives.
        pace: How it goes on.
        make: Returns its controller.
    """
    with Display(found.job, begun, pace, stated.release.least_requests) as display:
        ended = make(display.show).run(begun)
    server = Prometheus(found.addresses.prometheus)
    report.write(found.folder / PAGE, server, stated, found.job, ended)
    return ended


def _release(project: Project, name: str, pace: Pace, place: Place) -> Release:
    configured, stated = settings.read(), slo.read()
    with only_one(FOLDER / LOCK, UNDER_WAY):
        found = gateway.find(FOLDER, configured, stated.job or project.name)
        require_one_version(Prometheus(found.addresses.prometheus), found.job)
        begun = _begin(project, configured, stated, name)
        canary = Candidate(found, place, begun.version)
        stable = Follower(found, project.contract, configured.models_dir)
        patience = PATIENCE_SECONDS + configured.poll_seconds
        return bring_to_its_end(
            begun,
            found,
            stated,
            pace,
            lambda show: Controller(found, canary, stable, pace, show, patience),
        )


def require_no_release() -> None:
    """See that no release has begun, and not ended.

    Raises:
        UserError: one has.
    """
    known = record.read(FOLDER)
    if known and not known.ended:
        raise UserError(record.unfinished(known, VERSION))


def require_store(configured: Settings) -> str:
    """Return the address of the database that keeps predictions.

    Raises:
        UserError: there is none.
    """
    if url := configured.feedback_url.get_secret_value():
        return url
    raise UserError(
        f"{PREFIX}FEEDBACK_URL: what is predicted is kept there, and compared: set it to a "
        "database, here and for make gateway."
    )


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
    from .compose import containers, host  # they are releases, too
    from .compose import release as images

    kinds = (containers.FOLDER, host.IMAGE, images.abort), (FOLDER, VERSION, _abort)
    for folder, kind, abort in kinds:
        known = record.read(folder)
        if known and not known.ended:
            return _tell(folder, known, wanted, f"make canary {kind}={known.version}", abort)
    raise UserError("No release is under way.")


def _tell(
    folder: Path, known: Release, wanted: Wish, again: str, abort: Callable[[Release], str]
) -> str:
    with ExitStack() as held:
        try:
            held.enter_context(only_one(folder / LOCK, ""))
        except UserError:
            record.wish(folder, wanted)
            return f"{known.version}: {wanted} is told."
        if wanted != "abort":
            raise UserError(f"Nobody goes on with {known.version}. First: {again}")
        return abort(known)


def _abort(known: Release) -> str:
    """End a release that nobody goes on with."""
    progress.abort(FOLDER)
    with suppress(UserError):  # where there is no gateway, it shares nothing
        found = gateway.find(FOLDER, settings.read(), "")
        found.route()
        found.place(CANARY)
    if known.made:
        return f'{known.version} is the {CHAMPION} already. Undo that: make rollback WHY="..."'
    return f"{known.version} is rolled back; stable answers all requests."


def _begin(project: Project, configured: Settings, stated: Slo, name: str) -> Release:
    """Return the release that begins, or the one that goes on.

    Raises:
        UserError: another one is under way, or this version cannot be released.
    """
    root, known = configured.models_dir, record.read(FOLDER)
    version = registry.history(root, name)[0]
    if known and not known.ended:
        if known.version != version:
            raise UserError(record.unfinished(known, VERSION))
        return known
    if configured.alias != CHAMPION:
        raise UserError(f"{PREFIX}ALIAS: a release makes a version the {CHAMPION}: serve that.")
    champion = registry.history(root)[0]
    if version == champion:
        raise UserError(f"{version} is the {CHAMPION} already. Others: make models.")
    registry.require_schema(project.contract, registry.load(root, version)[1])
    record.take_wish(FOLDER)  # of a release before
    return record.began(version, champion, stated.release.weights)
