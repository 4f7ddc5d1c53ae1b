"""Load a service and judge it by slo.yaml: `make load`, `make loadimage`."""

import asyncio
import gc
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from .. import settings, slo
from ..errors import UserError
from ..project import Project
from ..settings import Settings
from ..slo import Slo
from . import report
from .drive import CALLERS, RATE_PART, Caller, exact_loop, open_session
from .judge import Load, Verdict, is_spoilt, judge, milliseconds, notes, percentile
from .targets import Target, Usage, running_service, started_image, started_service

REPORT = Path("build/load/report.html")
SHOW_SECONDS = 5
ATTEMPTS = 3


class Options(NamedTuple):
    """What is loaded, for how long, and where the result goes.

    Attributes:
        seconds: How long it is loaded.
        url: The service at this address, and none is started.
        image: This image, started as deploy/compose.yaml says.
        slo: What is stated.
        report: The page that is written.
    """

    seconds: float = 30.0
    url: str = ""
    image: str = ""
    slo: Path = slo.SLO
    report: Path = REPORT


def run(project: Project, options: Options) -> int:
    """Load, write the report, say what was found; return the exit code.

    It is 0 when everything stated is met, 1 when something is missed, 2 when nothing was judged.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which stops what was started
    options.report.parent.mkdir(parents=True, exist_ok=True)
    try:
        stated, configured = slo.read(options.slo), settings.read()
        load, verdicts = _measure(project, options, stated, configured)
    except UserError as error:
        print(f"Nothing was judged. {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    options.report.write_text(report.render(stated, load, verdicts), encoding="utf-8")
    return _tell(verdicts, notes(load), options.report)


def _measure(
    project: Project, options: Options, stated: Slo, configured: Settings
) -> tuple[Load, list[Verdict]]:
    """Load the target; again when the machine was too busy, but not for ever.

    Raises:
        UserError: it cannot be loaded.
    """
    usages: list[Usage] = []
    runner = asyncio.Runner(loop_factory=exact_loop)
    with _target(options, configured) as target, runner:
        threading.Thread(target=_watch, args=(target, usages), daemon=True).start()
        for left in reversed(range(ATTEMPTS)):
            load = runner.run(_load(project, target, usages, stated, configured, options.seconds))
            verdicts = judge(stated, load)
            if not left or not is_spoilt(load, verdicts):
                break
            print("\n".join([*notes(load), "So it is measured again."]), flush=True)
    unknown = [verdict.name for verdict in verdicts if verdict.met is None]
    if target.look and unknown:
        raise UserError(f"{', '.join(unknown)} could not be measured; load for longer.")
    return load, verdicts


def _target(options: Options, configured: Settings) -> AbstractContextManager[Target]:
    if options.url:
        return running_service(options.url, configured.keys)
    log = options.report.with_name("service.log")
    if options.image:
        return started_image(options.image, log)
    return started_service(configured.workers, log)


async def _load(
    project: Project,
    target: Target,
    usages: Sequence[Usage],
    stated: Slo,
    configured: Settings,
    seconds: float,
) -> Load:
    """Load a target once, and return what happened; what it uses is seen in `usages`."""
    async with open_session(configured.keys) as session:
        caller = Caller(project.contract, session, target.url, stated.traffic)
        await caller.warm_up()
        gc.freeze()  # pauses of this side would count as latency
        showing = asyncio.create_task(_show(caller, seconds))
        began = time.monotonic()
        await caller.hold_rate(seconds * RATE_PART)
        full_speed_began, used = time.monotonic(), time.process_time()
        fast_seconds = seconds * (1 - RATE_PART)
        await caller.run_at_full_speed(fast_seconds, CALLERS * target.workers)
        used = time.process_time() - used
        showing.cancel()
    return Load(
        target=target.name,
        version=caller.version,
        workers=target.workers,
        outcomes=caller.outcomes,
        usages=[each for each in usages if each.at >= began],
        began=began,
        full_speed_began=full_speed_began,
        ended=full_speed_began + fast_seconds,
        generator_cores=used / (time.monotonic() - full_speed_began),
        was_killed=target.was_killed(),
    )


def _watch(target: Target, usages: list[Usage]) -> None:
    for usage in target.look() if target.look else ():
        usages.append(usage)


async def _show(caller: Caller, seconds: float) -> None:
    """Say now and then how far it is."""
    begin, seen = time.monotonic(), 0
    while True:
        await asyncio.sleep(SHOW_SECONDS)
        new, seen = caller.outcomes[seen:], len(caller.outcomes)
        failed = sum(bool(each.failure) for each in new)
        print(
            f"{time.monotonic() - begin:4.0f} of {seconds:.0f} s: {len(new)} requests, "
            f"{failed} failed, p99 {percentile(milliseconds(new), 99):.1f} ms",
            flush=True,
        )


def _tell(verdicts: Sequence[Verdict], known: Sequence[str], written: Path) -> int:
    """Print what was judged; return the exit code."""
    state = {True: "met", False: "MISSED", None: "not measured"}
    for each in verdicts:
        print(f"{each.name:22} {each.limit:28} {each.found:>13}  {state[each.met]}")
    for note in known:
        print(f"Note: {note}")
    print(f"The report: {written}")
    missed = [each for each in verdicts if each.met is False]
    for each in missed:
        print(f"MISSED {each.name}: objective {each.limit}, measured {each.found}", file=sys.stderr)
    return 1 if missed else 0
