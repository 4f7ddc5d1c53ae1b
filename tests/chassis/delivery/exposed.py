"""Replicas that only count: what Prometheus scrapes of stable and of a canary that is bad."""

import time
from collections.abc import Iterator

from ml_chassis.monitoring import metrics
from ml_chassis.monitoring.metrics import series_of
from servers import Handler

SAME, OTHER = (0.1, 0.2, 0.3, 0.4), (0.4, 0.3, 0.2, 0.1)
"""Shares of the predictions by bin."""


class Replica(Handler):
    """Counts as if it were asked, so many times a second since it began."""

    track = "stable"
    per_second = 400.0
    failed = 0.0
    slow = 0.01
    degraded = 0.0
    refused = 0.0
    loss = 0.5
    acted_well = 0.6
    predicted = SAME
    memory = 200 * 2**20
    begun = time.time()

    def do_GET(self) -> None:
        text = "".join(f"{line}\n" for line in self.lines(time.time() - self.begun))
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def lines(self, seconds: float) -> Iterator[str]:
        """Yield its metrics after so many seconds."""
        asked = self.per_second * seconds
        requests, duration = series_of(metrics.REQUESTS), metrics.DURATION
        yield self.sample(series_of(metrics.START), self.begun)
        yield self.sample(metrics.MEMORY, self.memory)
        yield self.sample(requests, asked * (1 - self.failed), route="/predict", status="200")
        yield self.sample(requests, asked * self.failed, route="/predict", status="503")
        yield self.sample(requests, asked * self.refused, route="/predict", status="422")
        yield self.sample(f"{duration}_count", asked, route="/predict")
        yield self.sample(series_of(metrics.SLOW), asked * self.slow, route="/predict")
        degraded = series_of(metrics.DEGRADED_REQUESTS)
        yield self.sample(degraded, asked * self.degraded, reason="error")
        for at, share in enumerate(self.predicted):
            where = {"version": "v1", "bins": "a1", "bin": f"{at} to {at + 1}"}
            yield self.sample(series_of(metrics.PREDICTION_BINS), asked * share, **where)
        yield from self.labelled(asked / 2)

    def labelled(self, rows: float) -> Iterator[str]:
        """Yield what its labels say."""
        of_all = {"version": "v1", "slice": "(all)"}
        yield self.sample(series_of(metrics.LABELLED), rows, **of_all)
        yield self.sample(series_of(metrics.LOSS), rows * self.loss, **of_all)
        yield self.sample(series_of(metrics.SQUARED_LOSS), rows * (self.loss**2 + 0.09), **of_all)
        outcomes = {"true_positive": (self.acted_well, 20), "false_positive": (0.4, -5)}
        for outcome, (share, value) in outcomes.items():
            where = {"version": "v1", "outcome": outcome}
            yield self.sample(series_of(metrics.DECISIONS), rows * share, **where)
            yield self.sample(series_of(metrics.DECISION_VALUE), value, **where)

    def sample(self, name: str, value: float, **labels: str) -> str:
        given = {"track": self.track, **labels}
        text = ",".join(f'{label}="{each}"' for label, each in given.items())
        return f"{name}{{{text}}} {value}"


class Canary(Replica):
    """Has every problem that can be counted."""

    track = "canary"
    per_second = 200.0
    failed = 0.25
    slow = 0.5
    degraded = 0.2
    refused = 0.1
    loss = 0.9
    acted_well = 0.1
    predicted = OTHER
    memory = 500 * 2**20
