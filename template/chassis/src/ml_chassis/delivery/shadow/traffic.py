"""What Prometheus knows of a shadow: what it was sent, and what became of that."""

from collections.abc import Mapping
from typing import NamedTuple

from ...monitoring import metrics
from ...monitoring.metrics import series_of
from ...monitoring.rules.burn import failed_statuses
from ...observe.page import matching
from ...observe.prometheus import Prometheus
from ...settings import SHADOW, Track
from ..gateway import EDGE
from ..routes import PREDICT

FAILED = f'status=~"{failed_statuses()}"'
REFUSED = 'status=~"4..",status!="429"'
SENT = "envoy_cluster_upstream_rq_total"


class Traffic(NamedTuple):
    """What became of the requests for predictions of a track in a time.

    Attributes:
        requests: How many it answered.
        failed: Share of them that was answered 5xx or 429.
        refused: Share that was answered 4xx but 429.
        degraded: Share that the fallback answered.
        median: Seconds within which half of them were answered; None where that is not known.
        slow: Seconds within which 99 of 100 were.
        memory: Bytes of its largest replica, at most.
    """

    requests: float
    failed: float
    refused: float
    degraded: float
    median: float | None
    slow: float | None
    memory: float | None


def traffic(server: Prometheus, job: str, track: Track, begun: float, ended: float) -> Traffic:
    """Return what is known of a track.

    Args:
        server: Prometheus.
        job: How it calls the service.
        track: Which one.
        begun: Unix time in seconds.
        ended: Likewise.

    Raises:
        PrometheusError: there is no answer.
    """
    asked = _Asked(server, {"job": job, "track": track}, begun, ended)
    requests = series_of(metrics.REQUESTS)
    whole = asked.grown(requests)
    parts = (
        asked.grown(requests, FAILED),
        asked.grown(requests, REFUSED),
        asked.grown(series_of(metrics.DEGRADED_REQUESTS), route=False),
    )
    failed, refused, degraded = (part / whole if whole else 0.0 for part in parts)
    median, slow = (asked.quantile(each) for each in (0.5, 0.99))
    memory = asked.value(f"max(max_over_time({asked.series(metrics.MEMORY, route=False)}))")
    return Traffic(whole, failed, refused, degraded, median, slow, memory)


def sent(server: Prometheus, job: str, begun: float, ended: float) -> float:
    """Return how many requests Envoy has sent to a shadow.

    Raises:
        PrometheusError: there is no answer.
    """
    labels = {"job": f"{job}{EDGE}", "envoy_cluster_name": SHADOW}
    return _Asked(server, labels, begun, ended).grown(SENT, route=False)


class _Asked:
    """Questions about some series and a time."""

    def __init__(
        self, server: Prometheus, labels: Mapping[str, str], begun: float, ended: float
    ) -> None:
        self._server, self._labels, self._ended = server, labels, ended
        self._seconds = max(round(ended - begun), 1)

    def series(self, name: str, more: str = "", *, route: bool = True) -> str:
        """Return the series of these labels in the time, as PromQL."""
        labels = {**self._labels, **({"route": PREDICT} if route else {})}
        matchers = matching(labels).removesuffix("}") + (f",{more}}}" if more else "}")
        return f"{name}{matchers}[{self._seconds}s]"

    def grown(self, name: str, more: str = "", *, route: bool = True) -> float:
        """Return how much counters grew; what was not there before has begun at zero.

        An increase would miss what came before their first sample.
        """
        series = self.series(name, more, route=route)
        before = f"{series.rpartition('[')[0]} offset {self._seconds}s"
        last = f"max_over_time({series})"
        return self.value(f"sum({last} - {before} or {last})") or 0.0

    def quantile(self, share: float) -> float | None:
        """Return the seconds within which a share of the requests was answered."""
        buckets = self.series(f"{metrics.DURATION}_bucket")
        return self.value(f"histogram_quantile({share:g}, sum by (le) (rate({buckets})))")

    def value(self, expr: str) -> float | None:
        """Return the only value of an expression; None where there is none, or it is no number."""
        found = self._server.ask(expr, self._ended)
        return found[0].value if found and found[0].value == found[0].value else None
