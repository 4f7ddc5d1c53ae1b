"""An A/B test in two services, behind the gateway: `make experiment VERSION=...`.

Envoy assigns units to stable or to a second replica. The test ends by its stop rule, by a person,
or when the second replica harms clients.
"""

import time
from contextlib import suppress
from typing import NamedTuple

from ... import registry, settings, slo
from ...errors import UserError
from ...feedback.store import Declared, Store, utc_now
from ...observe.prometheus import Prometheus
from ...programs import only_one
from ...project import Project
from ...registry import Manifest
from ...settings import PREFIX, Settings
from ...slo import Experiment
from .. import gateway, progress
from ..candidate import Candidate
from ..command import (
    HERE,
    LOCK,
    PACE,
    UNDER_WAY,
    require_no_release,
    require_one_version,
    require_store,
)
from ..display import lasts, shown_line
from ..gateway import FOLDER, Gateway, Place
from ..progress import Pace
from ..routes import Assignment, Sharing
from .analysis import analyse
from .report import TITLES
from .served import read_served

TICK_SECONDS = 0.2
HARM = {"absent", "crashes", "degraded", "errors", "latency", "memory", "refused"}
"""Reasons for which a release would be rolled back, and that are no outcome of a test."""


class Ended(NamedTuple):
    """A test that goes on no more, for now.

    Attributes:
        name: Of the test.
        problem: What went wrong; "" is nothing.
    """

    name: str
    problem: str


def run(project: Project, name: str, pace: Pace = PACE, place: Place = HERE) -> Ended:
    """Test a version against the champion until the stop rule decides, or a person ends it.

    Args:
        project: Of the working folder.
        name: The version, or an alias of it.
        pace: When it is looked at.
        place: Where the second replica runs.

    Raises:
        UserError: it cannot begin.
    """
    configured, stated = settings.read(), slo.read()
    url = require_store(configured)
    with only_one(FOLDER / LOCK, UNDER_WAY):
        found = gateway.find(FOLDER, configured, stated.job or project.name)
        require_one_version(Prometheus(found.addresses.prometheus), found.job)
        require_no_release()
        version = _declare(project, configured, url, stated.experiment, name)
        test = Assignment(version, stated.experiment.share, configured.experiment_unit)
        with Candidate(found, place, version) as candidate:
            return Ended(version, _follow(project, url, found, candidate, test, pace))


def _declare(project: Project, configured: Settings, url: str, plan: Experiment, name: str) -> str:
    """Note the test, unless it goes on; return the version, after which it is called.

    Raises:
        UserError: one of both models, or what is kept, is not good for a test.
    """
    if configured.feedback_days < plan.most_days:
        raise UserError(
            f"{PREFIX}FEEDBACK_DAYS: what it keeps is needed for {plan.most_days} days, most_days "
            "of experiment in slo.yaml."
        )
    root = configured.models_dir
    champion, challenger = (registry.load(root, each)[1] for each in (registry.CHAMPION, name))
    for each in (champion, challenger):
        registry.require_schema(project.contract, each)
        if each.expected is None:
            raise UserError(f"{each.version} is too old for labels: train it again.")
    store = Store(project.contract, url)
    try:
        store.declare(_declared(plan, champion, challenger))
    finally:
        store.close()
    return challenger.version


def _declared(plan: Experiment, champion: Manifest, challenger: Manifest) -> Declared:
    decision = champion.expected.decision if champion.expected else None
    return Declared(
        challenger.version,
        utc_now(),
        plan.model_dump(mode="json"),
        decision.model_dump(mode="json") if decision else None,
        champion.version,
        challenger.version,
    )


def _follow(
    project: Project,
    url: str,
    found: Gateway,
    candidate: Candidate,
    test: Assignment,
    pace: Pace,
) -> str:
    """Let units be assigned until the test ends, and return what went wrong; "" is nothing."""
    begun, server = time.monotonic(), Prometheus(found.addresses.prometheus)
    problem, scraped, was_decided = "", float("inf"), False
    with suppress(KeyboardInterrupt), shown_line() as show:
        show(f"{test.name} starts.")
        candidate.start()
        found.route(Sharing(test=test))
        next_look = begun + pace.interval
        while found.runs and not problem:
            time.sleep(TICK_SECONDS)
            if not candidate.runs:
                problem = f"{test.name} has ended by itself; see {candidate.log}."
            if time.monotonic() < next_look:
                continue
            next_look = time.monotonic() + pace.interval
            said, is_decided = _look(project, url, test.name)
            show(f"{lasts(time.monotonic() - begun)}  {said}")
            seen, now = progress.look(server, found.job, candidate.instance), time.monotonic()
            # Until then, what is recorded may be of a canary before this one.
            scraped = min(scraped, now) if seen.scraped else scraped
            harm = HARM & {*seen.problems}
            if harm and now - scraped > pace.delay:
                problem = f"{test.name} harms clients: {', '.join(sorted(harm))}."
            # Twice, as replicas write down at different moments what they have answered.
            if is_decided and was_decided:
                break
            was_decided = is_decided
    return problem


def _look(project: Project, url: str, name: str) -> tuple[str, bool]:
    """Return what is known of a test, and whether its stop rule has decided."""
    try:
        served = read_served(project.contract, url, name)
    except UserError as error:  # of too few units, or a database that is busy
        return str(error), False
    found = analyse(served.plan, served.units, utc_now(), served.begun)
    units, known = (
        sum(getattr(arm, of) for arm in (found.champion, found.challenger))
        for of in ("units", "known")
    )
    said = f"{units:,} units, {known:,} outcomes. {TITLES[found.decision]}."
    return said, found.decision != "continue"
