"""Alerts on a model that is old, and on a retraining that did not end well."""

from collections.abc import Iterator

from ...slo import Slo
from .. import metrics
from .rule import VERSION, Rule, alert, labels, served

DAY = 86_400
ENDED_BADLY = ("failed", "killed", "not_asked", "refused")
"""Outcomes of a retraining after which a person should look."""


def alerts(slo: Slo) -> Iterator[Rule]:
    """Yield them; a retraining that was declined is none."""
    yield alert(
        "ModelServiceModelAge",
        f"{age()} > {slo.freshness.model_days * DAY}\nand on {labels(VERSION)} {served()}",
        "ticket",
        "{{ $labels.version }} was trained {{ $value | humanizeDuration }} ago.",
        retrain=True,
    )
    ended = metrics.series_of(metrics.RETRAINING_END)
    bad = f'max by (job, outcome) ({ended}{{outcome=~"{"|".join(ENDED_BADLY)}"}}) > 0'
    yield alert(
        "ModelServiceRetraining",
        f'({bad})\n== on (job) group_left () max by (job) ({ended}{{outcome!="declined"}})',
        "ticket",
        "The last retraining: {{ $labels.outcome }}.",
    )


def age() -> str:
    """Return the seconds since each version was trained."""
    return f"time() - max by {labels(VERSION)} ({metrics.series_of(metrics.CREATED)})"
