"""How a release goes on: step by step, by what Prometheus has recorded of its canary."""

import time
from pathlib import Path
from typing import NamedTuple

from ..monitoring.metrics import START, WORKERS, series_of
from ..monitoring.rules import release as rules
from ..observe.page import matching
from ..observe.prometheus import Prometheus, PrometheusError
from ..settings import STABLE
from . import record
from .record import Release, Wish


class Pace(NamedTuple):
    """How a release goes on, as overlays/production/rollout.yaml has it for Argo Rollouts.

    Attributes:
        delay: Seconds of a step before the first look.
        interval: Seconds between two looks.
        good: Good verdicts in a row that end a step.
        unknown: Looks of a step that know nothing, after which it waits for a person.
        silent: Looks in a row without an answer of Prometheus, after which it is rolled back.
    """

    delay: float = 120
    interval: float = 60
    good: int = 5
    unknown: int = 30
    silent: int = 5


class Look(NamedTuple):
    """What is known of a canary at a moment.

    Attributes:
        verdict: 1 is good, -1 is bad, 0 or None is not known yet.
        problems: Why it is bad.
        requests: That it answered in the window.
        answered: Whether Prometheus did.
        scraped: Whether it has seen the canary.
    """

    verdict: int | None = None
    problems: tuple[str, ...] = ()
    requests: float = 0
    answered: bool = True
    scraped: bool = True


def look(server: Prometheus, job: str, instance: str) -> Look:
    """Return what the rules say of the canary of a job.

    Args:
        server: Prometheus.
        job: How it calls the service.
        instance: Host and port of the canary.
    """
    about, start = matching({"job": job}), series_of(START)
    try:
        scraped = server.ask(f"{start}{matching({'job': job, 'instance': instance})}")
        verdict = server.ask(f"min({rules.VERDICT}{about})")
        problems = server.ask(f"{rules.PROBLEM}{about}")
        requests = server.ask(f"sum({rules.REQUESTS}{about})")
    except PrometheusError:
        return Look(answered=False)
    return Look(
        int(verdict[0].value) if verdict else None,
        tuple(sorted(each.labels["reason"] for each in problems)),
        requests[0].value if requests else 0,
        scraped=bool(scraped),
    )


def served(server: Prometheus, job: str) -> set[str]:
    """Return the versions that stable serves.

    Raises:
        PrometheusError: there is no answer.
    """
    about = matching({"job": job, "track": STABLE})
    found = server.ask(f"{series_of(WORKERS)}{about} > 0")
    return {each.labels["version"] for each in found}


def started(release: Release, now: float) -> Release:
    """Return a release whose canary is ready: it gets requests, and the step begins anew."""
    text = "The canary is ready." if release.phase == "starting" else "The canary is ready again."
    changes = {"phase": "stepping", "scraped": False}
    return _begin(release.model_copy(update=changes), release.step, now, text)


def rolled_back(release: Release, now: float, reasons: tuple[str, ...]) -> Release:
    """Return a release that ended without success."""
    text = f"Rolled back: {', '.join(reasons)}."
    return release.with_event(now, text, phase="rolled back", held=False, reasons=[*reasons])


def abort(folder: Path) -> None:
    """Note that a person has ended what is under way, if something is."""
    known = record.read(folder)
    if known and not known.ended:
        record.write(folder, rolled_back(known, time.time(), ("aborted",)))


def obey(release: Release, wanted: Wish, now: float) -> Release:
    """Return a release after what a person wants; what makes no sense now changes nothing."""
    if wanted == "abort" and not release.ended and release.phase != "promoting":
        return rolled_back(release, now, ("aborted",))
    if release.phase != "stepping":
        return release
    if wanted == "promote":
        return release.with_event(now, "A person promotes it.", phase="promoting", held=False)
    if wanted == "hold" and not release.held:
        return release.with_event(now, "A person holds it.", held=True)
    if wanted == "resume" and release.held:
        return _begin(release, release.step, now, "A person lets it go on.")
    return release


def advance(release: Release, seen: Look, pace: Pace, now: float) -> Release:
    """Return a release in a step after a look at its canary.

    A bad verdict ends it, also while it is held.

    Args:
        release: As it was.
        seen: What is known now.
        pace: How many looks it takes.
        now: Unix time in seconds.
    """
    if not seen.answered:
        silent = release.silent + 1
        if silent >= pace.silent:
            return rolled_back(release, now, ("Prometheus does not answer",))
        return release.model_copy(update={"silent": silent, "good": 0})
    release = release.model_copy(update={"silent": 0})
    if not release.scraped:
        # Until then, what is recorded may be of a canary before this one.
        if not seen.scraped:
            why = "Prometheus does not see the canary"
            return release if release.held else _unknown(release, pace, now, why)
        release = release.model_copy(update={"scraped": True, "since": now})
    if now - release.since < pace.delay:
        return release
    if seen.verdict == -1:
        return rolled_back(release, now, seen.problems)
    if release.held:
        return release
    if seen.verdict != 1:
        return _unknown(release, pace, now, "Too little is known")
    good = release.good + 1
    if good < pace.good:
        return release.model_copy(update={"good": good})
    requests = f"{seen.requests:,.0f} requests of the canary, no problem."
    if release.step + 1 == len(release.weights):
        return release.with_event(now, requests, phase="promoting")
    return _begin(release, release.step + 1, now, requests)


def _unknown(release: Release, pace: Pace, now: float, why: str) -> Release:
    changed = release.model_copy(update={"good": 0, "unknown": release.unknown + 1})
    if changed.unknown < pace.unknown:
        return changed
    return changed.with_event(now, f"{why}; it waits for a person.", held=True)


def _begin(release: Release, step: int, now: float, why: str) -> Release:
    """Return a release at the beginning of a step."""
    text = f"{why} It gets {release.weights[step]} % of the requests."
    changes = {"step": step, "since": now, "good": 0, "unknown": 0, "silent": 0, "held": False}
    return release.with_event(now, text, **changes)
