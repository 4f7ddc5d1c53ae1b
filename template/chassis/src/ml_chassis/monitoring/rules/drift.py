"""Drift: what is recorded of how features and predictions are distributed, and alerts on it.

Replicas count the rows that they answer in the bins of training; here the counts of all replicas
meet. A shift is the population stability index of the rows of some days and of training, as in
`training.shift`: it must matter, and be more than chance. What broke is told within hours, by the
share of missing and unknown values.
"""

import json
from collections.abc import Iterator

from prometheus_client import Counter

from ...slo import Slo
from .. import metrics
from ..drift import MISSING, OTHER, PREDICTION
from .burn import LEAST_BAD
from .rule import (
    STEP,
    TRACK,
    VERSION,
    Rule,
    alert,
    chi_squared,
    labels,
    per_step,
    record,
    served,
    smoothed,
    to_one,
)

LEAST_ROWS = 500
"""Rows in the window below which no shift is told: chi-squared is true of many rows."""
LEAST_RECENT_ROWS = 100
"""The same for an hour."""
LASTING = "1h"
"""What broke must be so for an hour until it is told."""
NORMAL = 3.0902
"""The 0.999 quantile of the normal distribution."""
USUAL = 0.5
"""A value that was missing, or unknown, in more of the rows of training is no news."""
BAD_SHARE = 0.05
"""Of values that are refused or too old, from which on somebody should look."""

FEATURE = (*VERSION, "feature")
BIN = (*FEATURE, "bin")

NEW = f"model_service:feature_bin_rows:increase{STEP}"
BIN_ROWS = "model_service:feature_bin_rows:window"
ROWS = "model_service:feature_rows:window"
SHARE = "model_service:feature_bin_share:window"
TRAINED = "model_service:feature_bin_share:training"
PSI = "model_service:feature_psi:window"
LIMIT = "model_service:feature_psi_limit:window"
RECENT_SHARE = "model_service:feature_bin_share:hour"
TO_STABLE = "model_service:feature_psi_to_stable:hour"
REFUSED = "model_service:refused_values_share:hour"
STALE = "model_service:stale_values_share:hour"


def recorded(slo: Slo) -> Iterator[Rule]:
    """Yield what is recorded, each from what stands before it."""
    yield record(NEW, per_step(metrics.BINS, BIN))
    yield from _drift(slo)
    yield from _recent()
    problems, wanted = _problems(), f"sum by (job, track, source) ({_rate(metrics.SOURCE_VALUES)})"
    # A process answers requests or messages: they have other labels, so that both are there.
    messages = _rate(metrics.MESSAGES).replace("[", '{outcome!="label"}[')
    asked = f"sum by {labels(TRACK)} ({_rate(metrics.REQUESTS)} or {messages})"
    yield record(REFUSED, f"{problems} / {to_one(TRACK)} {asked}")
    lost = wanted.replace("[", '{state=~"missing|too_old"}[')
    yield record(STALE, f"({lost} or 0 * {wanted}) / {wanted}")


def alerts(slo: Slo) -> Iterator[Rule]:
    """Yield the alerts on shifts, and on what broke."""
    days, expected = slo.drift.window_days, [f"feature!={json.dumps(PREDICTION)}"]
    expected += [f"feature!={json.dumps(name)}" for name in slo.drift.expected]
    yield alert(
        "ModelServiceFeatureDrift",
        _shifted("{" + ",".join(expected) + "}"),
        "ticket",
        f"{{{{ $labels.feature }}}} of the last {days} days does not lie where it lay in training: "
        'its population stability index is {{ $value | printf "%.2f" }}.',
        retrain=True,
    )
    if PREDICTION not in slo.drift.expected:
        yield alert(
            "ModelServicePredictionDrift",
            _shifted(f'{{feature="{PREDICTION}"}}'),
            "ticket",
            f"The predictions of the last {days} days do not lie where they lay in training: "
            'their population stability index is {{ $value | printf "%.2f" }}.',
            retrain=True,
        )
    yield alert(
        "ModelServiceMissingValues",
        _broken(MISSING),
        "ticket",
        "{{ $labels.feature }} is missing in {{ $value | humanizePercentage }} of the rows.",
        LASTING,
    )
    yield alert(
        "ModelServiceUnknownValues",
        _broken(OTHER),
        "ticket",
        "{{ $labels.feature }} is none of the values that training knew in "
        "{{ $value | humanizePercentage }} of the rows.",
        LASTING,
    )
    yield alert(
        "ModelServiceRefusedValues",
        f"{REFUSED} > {BAD_SHARE}\nand {_problems('increase')} >= {LEAST_BAD}",
        "ticket",
        "{{ $value | humanizePercentage }} of the requests are refused because of "
        "{{ $labels.field }} ({{ $labels.reason }}).",
        LASTING,
    )
    yield alert(
        "ModelServiceStaleValues",
        f"{STALE} > {BAD_SHARE}",
        "ticket",
        "{{ $value | humanizePercentage }} of the values of {{ $labels.source }} are missing or "
        "too old.",
        LASTING,
    )


def _drift(slo: Slo) -> Iterator[Rule]:
    """Yield the index of the rows of some days and of training, and its limit.

    Both sides have `ADDED_ROWS` in each bin: a share of nothing has no logarithm.
    """
    rows = f"(max by {labels(VERSION)} ({metrics.series_of(metrics.TRAINED_ROWS)}) > 0)"
    share = f"max by {labels(BIN)} ({metrics.series_of(metrics.REFERENCE)})"
    known = f"({share} * {to_one(VERSION)} {rows})"
    window = f"sum_over_time({NEW}[{slo.drift.window_days}d])"
    yield record(BIN_ROWS, f"{window} and on {labels(VERSION)} ({served()})")
    yield record(ROWS, f"sum by {labels(FEATURE)} ({BIN_ROWS}) > 0")
    yield record(SHARE, smoothed(BIN_ROWS, ROWS, FEATURE))
    yield record(TRAINED, smoothed(known, f"sum by {labels(FEATURE)} ({known})", FEATURE))
    yield record(PSI, f"sum by {labels(FEATURE)} ({_terms(SHARE, TRAINED)})")
    used = f"clamp_min(count by {labels(FEATURE)} ({BIN_ROWS} + {known} > 0) - 1, 1)"
    quantile = chi_squared(used, NORMAL)
    # The index over 1 / rows + 1 / rows of training is distributed as chi-squared.
    chance = f"{quantile} * (1 / {ROWS} + {to_one(VERSION)} 1 / {rows})"
    yield record(LIMIT, f"clamp_min({chance}, {slo.drift.psi})")


def _shifted(matchers: str) -> str:
    return f"{PSI}{matchers} > {LIMIT}\nand {ROWS} >= {LEAST_ROWS}"


def _broken(name: str) -> str:
    """Return where half of the values that training had are missing, or unknown."""
    place = (*TRACK, "feature", "bin")
    usual = f'max by {labels(place)} ({TRAINED}{{bin="{name}"}} < {USUAL})'
    return f'{RECENT_SHARE}{{bin="{name}"}} > (1 + {usual}) / 2'


def _recent() -> Iterator[Rule]:
    """Yield where the values of the last hour lie, and how far from those of the track stable.

    Those two are compared where they have the same bins.
    """
    place = (*TRACK, "feature")
    rows = f"sum by {labels((*place, 'bin'))} (sum_over_time({NEW}[1h]))"
    enough = f"sum by {labels(place)} ({rows}) >= {LEAST_RECENT_ROWS}"
    yield record(RECENT_SHARE, smoothed(rows, f"({enough})", place))
    own = f'{RECENT_SHARE}{{track!="stable"}}'
    stable = f'{to_one(("job", "feature", "bin"))} {RECENT_SHARE}{{track="stable"}}'
    alike = [
        f"count by {labels(place)} ({own})",
        f"count by {labels(place)} ({own} * {stable})",
        f'{to_one(("job", "feature"))} count by (job, feature) ({RECENT_SHARE}{{track="stable"}})',
    ]
    index = f"sum by {labels(place)} ({_terms(own, stable)})"
    yield record(TO_STABLE, f"{index}\nand {alike[0]} == {alike[1]}\nand {alike[0]} == {alike[2]}")


def _terms(now: str, before: str) -> str:
    """Return what each bin adds to the population stability index of two distributions."""
    return f"({now} - {before}) * ln({now} / {before})"


def _problems(function: str = "rate") -> str:
    problems = metrics.series_of(metrics.PROBLEMS)
    return f"sum by (job, track, field, reason) ({function}({problems}[1h]))"


def _rate(metric: Counter) -> str:
    return f"rate({metrics.series_of(metric)}[1h])"
