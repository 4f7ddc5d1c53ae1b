"""Quality: what is recorded of predictions whose labels have come, and an alert on it.

All is of the labels of some days, of each version and slice. A mean has the interval of the normal
distribution around it, so that few labels prove nothing; without labels there is no sample, as
quality is unknown then and not good.
"""

from collections.abc import Iterator

from prometheus_client import Counter

from ...slo import Slo
from .. import metrics
from ..quality import ALL
from .drift import STEP, THREE_STEPS
from .rule import Rule, alert, record

LEAST_LABELS = 100
"""Below which nobody is told: the mean of few losses is not distributed normally."""
NORMAL = 1.96
"""The 0.975 quantile of the normal distribution."""

SLICE = "(job, track, version, slice)"
ROWS = "model_service:labelled_rows:window"
LOSS = "model_service:loss:window"
ERROR = "model_service:loss_standard_error:window"
LABELS = "model_service:label_bin:window"
CONFIDENCE = "model_service:confidence_bin:window"
DECISIONS = "model_service:decisions:window"
VALUE = "model_service:decision_value:window"


def recorded(slo: Slo) -> Iterator[Rule]:
    """Yield what is recorded, each from what stands before it."""
    window = f"{slo.drift.window_days}d"
    steps = {
        ROWS: (metrics.LABELLED, SLICE),
        LABELS: (metrics.LABEL_BIN, "(job, track, version, bin, label)"),
        CONFIDENCE: (metrics.CONFIDENCE_BIN, "(job, track, version, bin)"),
        DECISIONS: (metrics.DECISIONS, "(job, track, version, outcome)"),
    }
    for name, (metric, labels) in steps.items():
        yield from _summed(name, metric, labels, window)
    lost, squared = "model_service:loss_sum:window", "model_service:squared_loss_sum:window"
    yield from _summed(lost, metrics.LOSS, SLICE, window)
    yield from _summed(squared, metrics.SQUARED_LOSS, SLICE, window)
    yield record(LOSS, f"{lost} / ({ROWS} > 0)")
    spread = f"clamp_min({squared} / ({ROWS} > 0) - {LOSS} ^ 2, 0)"
    yield record(ERROR, f"sqrt({spread} / {ROWS})")
    worth = f"max by (job, track, version, outcome) ({metrics.series_of(metrics.DECISION_VALUE)})"
    yield record(VALUE, f"sum by (job, track, version) ({DECISIONS} * {worth})")


def alerts(slo: Slo) -> Iterator[Rule]:
    """Yield the alert on a model that is certainly no better than always answering the same."""
    floor = f"max by (job, track, version) ({metrics.series_of(metrics.BASE_RATE_LOSS)})"
    served = f"sum by (job, track, version) ({metrics.series_of(metrics.WORKERS)}) > 0"
    certain = f'({LOSS}{{slice="{ALL}"}} - {NORMAL} * {ERROR})'
    yield alert(
        "ModelServiceQuality",
        f"{certain} > on (job, track, version) group_left () {floor}\n"
        f"and {ROWS} >= {LEAST_LABELS}\nand on (job, track, version) {served}",
        "ticket",
        f"By the labels of the last {slo.drift.window_days} days the mean loss of "
        '{{ $labels.version }} is at least {{ $value | printf "%.3f" }}: always answering the same '
        "was better.",
    )


def _summed(name: str, metric: Counter, labels: str, window: str) -> Iterator[Rule]:
    step = name.replace(":window", f":increase{STEP}")
    increase = f"increase({metrics.series_of(metric)}[{THREE_STEPS}])"
    yield record(step, f"sum by {labels} ({increase}) / 3")
    yield record(name, f"sum_over_time({step}[{window}])")
