"""One rule of Prometheus: a recorded series, or an alert."""

from typing import Any, Literal, get_args

from prometheus_client import Counter

from .. import metrics
from ..drift import ADDED_ROWS

RUNBOOK = "docs/runbook.md"

Rule = dict[str, Any]
Severity = Literal["page", "ticket"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
RETRAIN = {"retrain": "yes"}
"""The label of alerts that `make retrainer` answers with a retraining."""

STEP, THREE_STEPS = "2m", "6m"
"""Between two looks, each of which counts what came since: days of raw samples would be slow. It is
less than the 5 minutes after which Prometheus takes a series for gone."""
TRACK = ("job", "track")
VERSION = (*TRACK, "version")
REPLICA = (*TRACK, "instance")


def labels(names: tuple[str, ...]) -> str:
    """Return the labels by which is summed or matched."""
    return f"({', '.join(names)})"


def served() -> str:
    """Return the versions that are served now."""
    return f"sum by {labels(VERSION)} ({metrics.series_of(metrics.WORKERS)}) > 0"


def to_one(names: tuple[str, ...]) -> str:
    """Return how many samples are matched with the one that has these labels."""
    return f"on {labels(names)} group_left ()"


def smoothed(rows: str, all_rows: str, place: tuple[str, ...]) -> str:
    """Return the share of the rows in each bin, with `ADDED_ROWS` in each."""
    bins = f"{ADDED_ROWS} * count by {labels(place)} ({rows})"
    return f"({rows} + {ADDED_ROWS}) / {to_one(place)} ({all_rows} + {bins})"


def chi_squared(freedom: str, normal: float) -> str:
    """Return a quantile of chi-squared, from that of the normal distribution.

    By Wilson and Hilferty (1931): of one degree of freedom 3 % too high, of more less.
    """
    return f"{freedom} * (1 - 2 / (9 * {freedom}) + {normal} * sqrt(2 / (9 * {freedom}))) ^ 3"


def per_step(metric: Counter, names: tuple[str, ...]) -> str:
    """Return how much a metric grew in a step, over all replicas.

    An increase misses what came between the last sample before its window and the first in it. So
    all lies in three windows, of which at most one begins or ends beside it.
    """
    return f"sum by {labels(names)} (increase({metrics.series_of(metric)}[{THREE_STEPS}])) / 3"


def workers_ended(window: str, matchers: str = "") -> str:
    """Return how many workers of each replica ended in a window without being told to.

    They are counted since the last start, if that was in the window. Of so few an increase would
    not do: it extrapolates, and soon after the start of a replica makes two of one.
    """
    ended = metrics.series_of(metrics.WORKERS_ENDED) + (f"{{{matchers}}}" if matchers else "")
    return f"({ended} - min_over_time({ended}[{window}]))"


def record(name: str, expr: str, **labels: str) -> Rule:
    """Return a recording rule, whose samples have these labels, too."""
    return {"record": name, "expr": expr, **({"labels": labels} if labels else {})}


def alert(
    name: str, expr: str, severity: Severity, summary: str, wait: str = "", *, retrain: bool = False
) -> Rule:
    """Return an alert, whose page in the runbook is called like it.

    Args:
        name: Of the alert.
        expr: Has a sample for each thing of which is told.
        severity: Whether somebody is woken, or it is the work of the next day.
        summary: What is told, as a template of Prometheus.
        wait: How long it must last before.
        retrain: Whether it asks for a retraining.
    """
    return {
        "alert": name,
        "expr": expr,
        **({"for": wait} if wait else {}),
        "labels": {"severity": severity, **(RETRAIN if retrain else {})},
        "annotations": {"summary": summary, "runbook": f"{RUNBOOK}#{name.lower()}"},
    }
