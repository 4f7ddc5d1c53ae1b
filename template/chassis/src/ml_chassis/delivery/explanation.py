"""Why a canary was bad: sentences with the numbers that its verdict was made of."""

from collections.abc import Callable
from typing import NamedTuple, cast

from ..monitoring import metrics
from ..monitoring.rules import release as rules
from ..monitoring.rules.release import Reason
from ..observe.draw import text
from ..observe.page import matching
from ..observe.prometheus import Prometheus
from ..slo import Slo

RECENT_SECONDS = 90
"""In which the last value is looked for: a canary that is taken away leaves none after it."""
BAD = {
    "errors": "failed",
    "latency": "took longer than {:g} ms",
    "degraded": "were answered by the fallback",
    "refused": "were refused",
}
"""What became of bad requests, by reason."""
OTHERS = {
    "aborted": "A person aborted it.",
    "start": "The canary did not start.",
    "ended": "The process of the canary ended.",
    "promotion": "It was good, but did not start in the place of stable.",
}
"""Reasons of the controller that are no sentence."""
MEANS = {"quality": "mean loss", "value": "mean value of a decision"}


class Known(NamedTuple):
    """What Prometheus knew of a release at a moment.

    Attributes:
        server: Prometheus.
        stated: The objectives.
        job: How Prometheus calls the service.
        at: Unix time in seconds.
        lasted: Seconds since the release began: what was known before is about another one.
    """

    server: Prometheus
    stated: Slo
    job: str
    at: float
    lasted: float

    def value(self, series: str, **labels: str) -> float:
        """Return the last value of the series that have these labels, or the largest of them.

        Raises:
            LookupError: there is none.
            PrometheusError: there is no answer.
        """
        return self.server.ask(f"max({self._last(series, **labels)})", self.at)[0].value

    def problems(self) -> list[str]:
        """Return why the canary is bad.

        Raises:
            PrometheusError: there is no answer.
        """
        found = self.server.ask(self._last(rules.PROBLEM), self.at)
        return sorted(each.labels["reason"] for each in found)

    def _last(self, series: str, **labels: str) -> str:
        seconds = max(min(RECENT_SECONDS, int(self.lasted)), 1)
        return f"last_over_time({series}{matching({'job': self.job, **labels})}[{seconds}s])"


def explain(known: Known, reason: str) -> str:
    """Return a sentence about a reason for which a release was rolled back.

    Args:
        known: What was known then.
        reason: One of the rules, or of the controller.

    Raises:
        PrometheusError: there is no answer.
    """
    begin = f"{reason[:1].upper()}{reason[1:]}"
    sentence = SENTENCES.get(cast(Reason, reason))
    if sentence is None:
        return OTHERS.get(reason, f"{begin.rstrip('.')}.")
    try:
        return f"{begin}: {sentence(known, cast(Reason, reason))}"
    except LookupError:
        return f"{begin}: Prometheus has no numbers of it."


def _bad_requests(known: Known, reason: Reason) -> str:
    shares = [known.value(rules.SHARE, track=track, reason=reason) for track in TRACKS]
    requests = [known.value(rules.EVENTS, track=track, reason=reason) for track in TRACKS]
    became = BAD[reason].format(known.stated.objectives.latency_p99_ms)
    return (
        f"{_percent(shares[0])} of {requests[0]:,.0f} requests to the canary {became}, and "
        f"{_percent(shares[1])} of {requests[1]:,.0f} to stable. {_difference(known, reason)}, "
        f"and {_percent(rules.matters(known.stated)[reason])} of the requests."
    )


def _predictions(known: Known, _: Reason) -> str:
    return (
        "the population stability index of the predictions of both is "
        f"{known.value(rules.PSI):.2f}; the limit is {known.value(rules.LIMIT):.2f}."
    )


def _labels(known: Known, reason: Reason) -> str:
    means = [known.value(rules.MEAN, track=track, reason=reason) for track in TRACKS]
    return (
        f"the {MEANS[reason]} is {means[0]:.4g} of the canary, and {means[1]:.4g} of stable. "
        f"{_difference(known, reason)}, and {_percent(rules.LABELS_MATTER)} of stable's."
    )


def _memory(known: Known, _: Reason) -> str:
    used = [text(known.value(metrics.MEMORY, track=track), "bytes") for track in TRACKS]
    limit = text(rules.memory_limit(known.stated), "bytes")
    return f"the canary used {used[0]}, and stable {used[1]}; the limit is {limit}."


def _crashes(known: Known, _: Reason) -> str:
    times = known.value(rules.CRASHED, track="canary")
    return (
        f"it, or workers of it, ended without being told to {times:.0f} times in "
        f"{known.stated.release.window_minutes} minutes; the limit is {rules.CRASHES}."
    )


def _absent(_: Known, __: Reason) -> str:
    return f"it answered no scrape for {rules.UNSEEN}."


def _difference(known: Known, reason: Reason) -> str:
    z = known.value(rules.Z, reason=reason)
    return f"They differ by {abs(z):.1f} standard errors; the limits are {rules.NORMAL:g} of them"


def _percent(share: float) -> str:
    return text(share, "percentunit")


TRACKS = ("canary", "stable")
SENTENCES: dict[Reason, Callable[[Known, Reason], str]] = {
    **dict.fromkeys(("errors", "latency", "degraded", "refused"), _bad_requests),
    "predictions": _predictions,
    "quality": _labels,
    "value": _labels,
    "memory": _memory,
    "crashes": _crashes,
    "absent": _absent,
}
