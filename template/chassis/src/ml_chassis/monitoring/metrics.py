"""The metrics of the service: every name is here and nowhere else."""

import fcntl
import logging
import os
from collections import deque
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    values,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.values import MultiProcessValue

LOGGER = logging.getLogger("model_service")

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Variable that names the folder in which worker processes share their counts."""

if FOLDER in os.environ:
    # By default each count asks the system for the process id, which costs more than the count.
    _process = {"id": os.getpid()}
    os.register_at_fork(after_in_child=lambda: _process.update(id=os.getpid()))
    values.ValueClass = MultiProcessValue(lambda: _process["id"])

REQUESTS = Counter(
    "model_service_requests", "Requests answered, by route and HTTP status.", ["route", "status"]
)
DURATION = Histogram(
    "model_service_request_duration_seconds",
    "Time from the headers of a request to its answer.",
    ["route"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
PREDICTIONS = Counter(
    "model_service_predictions", "Rows predicted, by version of the model.", ["version"]
)
DEGRADED = Counter(
    "model_service_degraded_predictions", "Rows answered by the fallback, by reason.", ["reason"]
)
PROBLEMS = Counter(
    "model_service_request_problems", "Problems found in refused requests, by field.", ["field"]
)

UNAUTHORISED = Counter("model_service_unauthorised_requests", "Requests without a valid key.")
PER_BIN = ("model_service_feature_bin", "model_service_feature_reference_ratio")
BINS = Counter(
    PER_BIN[0],
    "Rows predicted, or a random share where they are very many, by version, feature and bin.",
    ["version", "feature", "bin"],
)
REFERENCE = Gauge(
    PER_BIN[1],
    "Share of the training rows in the bin.",
    ["version", "feature", "bin"],
    multiprocess_mode="mostrecent",
)

SOURCE_CALLS = Counter(
    "model_service_source_calls", "Calls to other services, by result.", ["source", "result"]
)
SOURCE_VALUES = Counter(
    "model_service_source_values",
    "Values wanted of other services: live, last_known, too_old or missing.",
    ["source", "state"],
)
SOURCE_AGE = Histogram(
    "model_service_source_age_seconds",
    "Time from the observation of a value to its use.",
    ["source"],
    buckets=(60, 300, 600, 1_200, 1_800, 3_600, 5_400, 7_200, 14_400),
)
SOURCE_IMPOSSIBLE = Counter(
    "model_service_source_impossible_values",
    "Values from other services that the schema calls impossible, by field.",
    ["source", "field"],
)

MESSAGES = Counter(
    "model_service_stream_messages",
    "Messages consumed by `make stream`: predicted, duplicate or dead_letter.",
    ["outcome"],
)


_recent = deque[str](maxlen=3)
"""The versions that this process served last; the bins of others are not shown any more."""


@cache
def _series(metric: MetricWrapperBase, *labels: str) -> Any:
    """Return one series of a metric: looking it up costs more than counting."""
    return metric.labels(*labels)


def count_request(route: str, status: int, seconds: float) -> None:
    """Count an answer and its duration."""
    _series(DURATION, route).observe(seconds)
    _series(REQUESTS, route, str(status)).inc()


def count_predictions(version: str, degraded: str | None, rows: int) -> None:
    """Count predicted rows, by the version that answered, or by why it did not."""
    if degraded:
        _series(DEGRADED, degraded).inc(rows)
    else:
        _series(PREDICTIONS, version).inc(rows)


def publish_reasons(reasons: Iterable[str]) -> None:
    """Publish each reason for a degraded answer at zero: a series must begin before it grows."""
    for reason in reasons:
        _series(DEGRADED, reason)


def count_problem(field: str | None, known: Container[str | None]) -> None:
    """Count a problem in a refused request; a client must not be able to invent series.

    Args:
        field: The field with the problem.
        known: Fields of the schema; all others are counted as "other".
    """
    _series(PROBLEMS, str(field) if field in known else "other").inc()


def publish_bin(version: str, feature: str, name: str, share: float) -> None:
    """Publish a bin with the share of the training rows in it."""
    if version in _recent:
        _recent.remove(version)
    _recent.append(version)
    _series(REFERENCE, version, feature, name).set(share)
    _series(BINS, version, feature, name)


def count_bin(version: str, feature: str, name: str, rows: int) -> None:
    """Count predicted rows whose value of a feature lies in a bin."""
    _series(BINS, version, feature, name).inc(rows)


def count_source_call(source: str, result: str) -> None:
    """Count a call to another service, or that it was paused."""
    _series(SOURCE_CALLS, source, result).inc()


def count_source_value(source: str, state: str, age_seconds: float | None = None) -> None:
    """Count a value of another service that a request wanted, and its age when there was one."""
    _series(SOURCE_VALUES, source, state).inc()
    if age_seconds is not None:
        _series(SOURCE_AGE, source).observe(age_seconds)


def count_impossible_value(source: str, field: str) -> None:
    """Count a value of another service that was made missing."""
    _series(SOURCE_IMPOSSIBLE, source, field).inc()


def count_messages(outcome: str, messages: int) -> None:
    """Count messages of a stream by what became of them."""
    _series(MESSAGES, outcome).inc(messages)


def render() -> tuple[bytes, str]:
    """Return all metrics, summed over the worker processes, and their content type."""
    if FOLDER not in os.environ:
        return generate_latest(_Recent(REGISTRY)), CONTENT_TYPE_LATEST
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    with _alone(Path(os.environ[FOLDER])):
        return generate_latest(_Recent(registry)), CONTENT_TYPE_LATEST


class _Recent(CollectorRegistry):
    """The metrics of a registry without the bins of versions that were served long ago.

    There are hundreds for each version, and what is published in a process stays in it.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            if _recent and metric.name in PER_BIN:
                metric.samples = [
                    each for each in metric.samples if each.labels["version"] in _recent
                ]
            yield metric


def add_up_ended(pid: int) -> None:
    """Add what a worker that ended has counted to what all of them have.

    Its own files would stay, and fill the memory if workers went on dying.
    """
    folder = Path(os.environ[FOLDER])
    with _alone(folder):
        for path in folder.glob(f"*_{pid}.db"):
            kind = path.name.partition("_")[0]
            if kind != "gauge":  # those tell of workers that live
                sums = MmapedDict(str(folder / f"{kind}_ended.db"))
                for key, value, *_ in MmapedDict.read_all_values_from_file(str(path)):
                    sums.write_value(key, sums.read_value(key)[0] + value, 0.0)
                sums.close()
            path.unlink()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let no other process read the counts while they are moved: none must be missing or double."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
