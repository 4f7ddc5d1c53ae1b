"""Quality: what is recorded of predictions whose labels have come, and an alert on it.

All is of the labels of some days, of each version and slice. A mean has the interval of the normal
distribution around it, so that few labels prove nothing; without labels there is no sample, as
quality is unknown then and not good.
"""

from collections.abc import Iterator

from ...slo import Slo
from .. import metrics
from ..quality import ALL
from .rule import STEP, VERSION, Rule, alert, labels, per_step, record, served

LEAST_LABELS = 100
"""Below which nobody is told: the mean of few losses is not distributed normally."""
NORMAL = 1.96
"""The 0.975 quantile of the normal distribution."""

SLICE = (*VERSION, "slice")
ROWS = "model_service:labelled_rows:window"
LOSS = "model_service:loss:window"
ERROR = "model_service:loss_standard_error:window"
BASE_RATE = "model_service:base_rate_loss:window"
DIFFERENCE_ERROR = "model_service:loss_difference_standard_error:window"
LABELS = "model_service:label_bin:window"
CONFIDENCE = "model_service:confidence_bin:window"
DECISIONS = "model_service:decisions:window"
VALUE = "model_service:decision_value:window"


def recorded(slo: Slo) -> Iterator[Rule]:
    """Yield what is recorded, each from what stands before it."""
    sums = {
        ROWS: (metrics.LABELLED, SLICE),
        "model_service:loss_sum:window": (metrics.LOSS, SLICE),
        "model_service:squared_loss_sum:window": (metrics.SQUARED_LOSS, SLICE),
        "model_service:base_rate_loss_sum:window": (metrics.BASE_RATE_LOSS, SLICE),
        "model_service:squared_difference_sum:window": (metrics.SQUARED_DIFFERENCE, SLICE),
        LABELS: (metrics.LABEL_BIN, (*VERSION, "bin", "label")),
        CONFIDENCE: (metrics.CONFIDENCE_BIN, (*VERSION, "bin")),
        DECISIONS: (metrics.DECISIONS, (*VERSION, "outcome")),
    }
    for name, (metric, names) in sums.items():
        step = name.replace(":window", f":increase{STEP}")
        yield record(step, per_step(metric, names))
        yield record(name, f"sum_over_time({step}[{slo.drift.window_days}d])")
    _, lost, squared, base, squared_difference, *_ = sums
    yield record(LOSS, f"{lost} / ({ROWS} > 0)")
    yield record(ERROR, _standard_error(squared, LOSS))
    yield record(BASE_RATE, f"{base} / ({ROWS} > 0)")
    yield record(DIFFERENCE_ERROR, _standard_error(squared_difference, f"({LOSS} - {BASE_RATE})"))
    worth = f"max by (job, version, outcome) ({metrics.series_of(metrics.DECISION_VALUE)})"
    value = f"{DECISIONS} * on (job, version, outcome) group_left () {worth}"
    yield record(VALUE, f"sum by {labels(VERSION)} ({value})")


def alerts(slo: Slo) -> Iterator[Rule]:
    """Yield the alert on a model that is certainly worse than always answering the same."""
    whole = f'{{slice="{ALL}"}}'
    yield alert(
        "ModelServiceQuality",
        f"{LOSS}{whole} - {BASE_RATE} > {NORMAL} * {DIFFERENCE_ERROR}\n"
        f"and {ROWS} >= {LEAST_LABELS}\nand on {labels(VERSION)} {served()}",
        "ticket",
        f"By the labels of the last {slo.drift.window_days} days, always answering the mean of "
        "training would have been better than {{ $labels.version }}: its loss is higher by "
        '{{ $value | printf "%.3f" }}.',
        retrain=True,
    )


def _standard_error(squares: str, mean: str) -> str:
    """Return that of a mean, from the sum of the squares."""
    return f"sqrt(clamp_min({squares} / ({ROWS} > 0) - {mean} ^ 2, 0) / {ROWS})"
