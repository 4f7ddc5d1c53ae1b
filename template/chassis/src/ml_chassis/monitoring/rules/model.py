"""Alerts on a model that is old, and on a retraining that did not end well."""

from collections.abc import Iterator

from ...slo import Slo
from .. import metrics
from .rule import VERSION, Rule, alert, labels, served

DAY = 86_400
BROKEN = ("failed", "killed", "not_asked")
"""Outcomes of a retraining after which a person should look, until one ends otherwise."""
REFUSED = "refused"
"""One more: it stands until there is something new."""


def alerts(slo: Slo) -> Iterator[Rule]:
    """Yield them; a retraining that was declined is none, and another model ends the matter.

    A retrainer that is started anew shows what it showed before: its series may be gone for a
    while.
    """
    yield alert(
        "ModelServiceModelAge",
        f"{age()} > {slo.freshness.model_days * DAY}\nand on {labels(VERSION)} {served()}",
        "ticket",
        "{{ $labels.version }} was trained {{ $value | humanizeDuration }} ago.",
        retrain=True,
    )
    bad = _one_of(*BROKEN, REFUSED)
    created = f"{metrics.series_of(metrics.CREATED)} and on {labels(VERSION)} {served()}"
    yield alert(
        "ModelServiceRetraining",
        f"({_last(_one_of(*BROKEN), 'declined')}\n"
        f"or {_last(_one_of(REFUSED), 'declined|nothing_new')})\n"
        f"unless on (job) (max by (job) ({created})\n> on (job) max by (job) ({_ended(bad)}))",
        "ticket",
        "The last retraining: {{ $labels.outcome }}.",
    )
    seen = f"max by (job) (max_over_time({metrics.series_of(metrics.RETRAINING_END)}[1d]))"
    yield alert(
        "ModelServiceRetrainerAbsent",
        f"{seen}\nunless on (job) {metrics.series_of(metrics.RETRAINING_END)}",
        "ticket",
        "Prometheus does not see the retrainer any more: no alert begins a retraining.",
        "15m",
    )


def _last(matcher: str, leaving_out: str) -> str:
    """Return when a retraining ended so, where none has ended since in another way."""
    others = _ended(f'outcome!~"{leaving_out}"')
    found = f"max by (job, outcome) ({_ended(matcher)}) > 0"
    return f"({found}\n== on (job) group_left () max by (job) ({others}))"


def _one_of(*outcomes: str) -> str:
    return f'outcome=~"{"|".join(outcomes)}"'


def _ended(matcher: str) -> str:
    return f"max_over_time({metrics.series_of(metrics.RETRAINING_END)}{{{matcher}}}[1h])"


def age() -> str:
    """Return the seconds since each version was trained."""
    return f"time() - max by {labels(VERSION)} ({metrics.series_of(metrics.CREATED)})"
