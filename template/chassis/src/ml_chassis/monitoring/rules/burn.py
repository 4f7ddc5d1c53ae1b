"""Error budgets: what is recorded of each objective of slo.yaml, and alerts on how fast it burns.

The alerts are multi-window, multi-burn-rate (Beyer et al., The Site Reliability Workbook, 2018,
chapter 5). A burn rate of 1 uses up the error budget of 30 days in 30 days. The long window says
that it matters, the short one that it still goes on, so that an alert ends soon after its cause.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ...slo import Slo, seconds
from .. import metrics
from .rule import REPLICA, SEVERITIES, Rule, Severity, alert, labels, record, workers_ended

LEAST_BAD = 10
"""Bad events in the long window below which nobody is told: of few requests no share is known."""


class Burn(NamedTuple):
    """How fast a budget burns for an alert."""

    severity: Severity
    rate: float
    long: str
    short: str


BURNS = (
    Burn("page", 14.4, "1h", "5m"),
    Burn("page", 6, "6h", "30m"),
    Burn("ticket", 3, "1d", "2h"),
    Burn("ticket", 1, "3d", "6h"),
)
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
MEMORY_SHARE = 0.9
"""Of the limit, from which on somebody should look."""
CRASHES, CRASHES_WINDOW = 3, "10m"
"""Workers of a replica that end in the window, from which on somebody should look."""
BY = "by (job, track)"


class Indicator(NamedTuple):
    """A service level indicator: the share of bad events in all.

    Attributes:
        title: Of its chart.
        name: Of the recorded series: `model_service:NAME:ratio_rate5m`, and so on.
        alert: Name of its alerts.
        bad: The rate of bad events, as PromQL with `WINDOW`.
        total: That of all.
        budget: The share that may be bad.
        words: What happens, after a percentage.
    """

    title: str
    name: str
    alert: str
    bad: str
    total: str
    budget: float
    words: str


def indicators(slo: Slo) -> Iterator[Indicator]:
    """Yield what the objectives are about."""
    requests = metrics.series_of(metrics.REQUESTS)
    yield Indicator(
        "Failed requests",
        "request_errors:ratio",
        "ModelServiceErrors",
        _rate(f'{requests}{{status=~"{failed_statuses()}"}}'),
        _rate(requests),
        slo.objectives.error_share,
        "of the requests fail",
    )
    yield Indicator(
        "Slow requests",
        "slow_requests:ratio",
        "ModelServiceLatency",
        _rate(metrics.series_of(metrics.SLOW)),
        _rate(f"{metrics.DURATION}_count"),
        0.01,
        f"of the requests take more than {slo.objectives.latency_p99_ms:g} ms",
    )
    yield Indicator(
        "Degraded predictions",
        "degraded_predictions:ratio",
        "ModelServiceDegraded",
        _rate(metrics.series_of(metrics.DEGRADED)),
        answered("WINDOW"),
        slo.objectives.degraded_share,
        "of the predictions are the fallback's",
    )


def failed_statuses() -> str:
    """Return the statuses of requests that the service failed, as a regular expression."""
    return "|".join(["5..", *(str(status) for status in metrics.FAILURES if status < 500)])


def answered(window: str) -> str:
    """Return the rate of all predictions, those of the fallback too."""
    predicted, degraded = (
        _rate(metrics.series_of(each)) for each in (metrics.PREDICTIONS, metrics.DEGRADED)
    )
    return f"({degraded} + ({predicted} or 0 * {degraded}))".replace("WINDOW", window)


def _rate(series: str) -> str:
    return f"sum {BY} (rate({series}[WINDOW]))"


def recorded(slo: Slo) -> Iterator[Rule]:
    """Yield the share of bad events of each indicator, over each window."""
    for each in indicators(slo):
        for window in WINDOWS:
            ratio = f"{each.bad} / {each.total}".replace("WINDOW", window)
            yield record(series(each, window), ratio)


def series(indicator: Indicator, window: str) -> str:
    """Return what is recorded of an indicator over a window."""
    return f"model_service:{indicator.name}_rate{window}"


def alerts(slo: Slo) -> Iterator[Rule]:
    """Yield the alerts on budgets, and those on what ends the service itself."""
    for each in indicators(slo):
        for severity in SEVERITIES:
            burns = [burn for burn in BURNS if burn.severity == severity]
            yield alert(
                each.alert,
                "\nor\n".join(_burns(each, burn) for burn in burns),
                severity,
                f"{{{{ $value | humanizePercentage }}}} {each.words}; "
                f"the objective allows {100 * each.budget:g}%.",
            )
    yield from _others(slo)


def _burns(indicator: Indicator, burn: Burn) -> str:
    # Of a large budget a multiple would be more than all events, and no alert could fire.
    share = min(burn.rate * indicator.budget, (1 + indicator.budget) / 2)
    over = [f"{series(indicator, window)} > {share:g}" for window in (burn.long, burn.short)]
    events = indicator.bad.replace("rate(", "increase(").replace("WINDOW", burn.long)
    return "\nand ".join([*over, f"{events} >= {LEAST_BAD}"])


def _others(slo: Slo) -> Iterator[Rule]:
    yield alert(
        "ModelServiceAbsent",
        f"absent({metrics.series_of(metrics.START)})",
        "page",
        "No replica of the service is seen: whether requests are answered is not known.",
        wait="5m",
    )
    limit = seconds(slo.objectives.latency_p99_ms)
    yield alert(
        "ModelServiceStaleObjective",
        f"count by {labels(REPLICA)} ({metrics.DURATION}_count)\n"
        f"unless on {labels(REPLICA)} {metrics.series_of(metrics.OBJECTIVE)} == {limit!r}",
        "ticket",
        "{{ $labels.instance }} does not count slow requests by the objective of "
        f"{slo.objectives.latency_p99_ms:g} ms: it was started with another slo.yaml, or none.",
        wait="1h",
    )
    memory = slo.budget.memory_mib * 2**20
    yield alert(
        "ModelServiceMemory",
        f"{metrics.MEMORY} > {MEMORY_SHARE} * {memory}",
        "ticket",
        "A replica uses {{ $value | humanize1024 }}B of memory; "
        f"at {slo.budget.memory_mib} MiB it is killed.",
        wait="15m",
    )
    yield alert(
        "ModelServiceWorkersCrash",
        f"{workers_ended(CRASHES_WINDOW)} >= {CRASHES}",
        "ticket",
        "{{ $value }} workers of a replica ended within 10 minutes without being told to; "
        "what they were answering is lost.",
    )
