"""The metrics of the service: every name is here and nowhere else."""

import logging
import math
import os
import re
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.samples import Sample

from . import counts
from .counts import FOLDER

disable_created_metrics()  # a series beside each counter, of which nobody asks
LOGGER = logging.getLogger("model_service")

PREFIX = "model_service_"
if FOLDER in os.environ:
    counts.share()

REQUESTS = Counter(
    "model_service_requests",
    "Requests for predictions and of your own routes, by route and HTTP status.",
    ["route", "status"],
)
FAILURES = (429, 500, 503, 504)
"""Statuses of requests that the service failed: an objective is about their share."""
DURATION = "model_service_request_duration_seconds"
SLOW = Counter(
    "model_service_slow_requests",
    "Requests that took longer than the objective for 99 of 100, by route.",
    ["route"],
)
OBJECTIVE = Gauge(
    "model_service_latency_objective_seconds",
    "The objective by which slow requests are counted; 0 is no objective.",
    multiprocess_mode="max",  # of a process in which it is not published it is 0
)
_objectives = set[float]()
_slow_from = math.inf


@cache
def _duration() -> Histogram:
    """Return the latency of requests; it is made when all its buckets are known."""
    usual = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
    return Histogram(
        DURATION,
        "Time from the headers of a request to its answer.",
        ["route"],
        buckets=sorted({*usual, *_objectives}),
    )


BATCH_ROWS = Histogram(
    "model_service_batch_rows",
    "Rows in a call of the model.",
    buckets=[2**power for power in range(9)],
)
INFERENCE = Histogram(
    "model_service_inference_duration_seconds",
    "Time of a call of the model, by its version.",
    ["version"],
    buckets=(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1),
)
WAITING = Gauge(
    "model_service_waiting_requests",
    "The most requests that waited at once in the last second, summed over the workers.",
    multiprocess_mode="livesum",
)
WORKERS = Gauge(
    "model_service_model_workers",
    "Workers that serve a version of the model.",
    ["version"],
    multiprocess_mode="livesum",
)
CREATED = Gauge(
    "model_service_model_created_timestamp_seconds",
    "When a version of the model was trained, in Unix time.",
    ["version"],
    multiprocess_mode="mostrecent",
)
TRAINED_ROWS = Gauge(
    "model_service_model_training_rows",
    "Rows that a version of the model was trained on.",
    ["version"],
    multiprocess_mode="mostrecent",
)
START = Gauge(
    "model_service_start_time_seconds",
    "When the service was started, in Unix time.",
    multiprocess_mode="max",  # of a process in which it is not published it is 0
)
_started = time.time()
WORKERS_ENDED = Counter("model_service_workers_ended", "Workers that ended without being told to.")

PREDICTIONS = Counter(
    "model_service_predictions", "Rows answered by the model, by its version.", ["version"]
)
DEGRADED = Counter(
    "model_service_degraded_predictions", "Rows answered by the fallback, by reason.", ["reason"]
)
DEGRADED_REQUESTS = Counter(
    "model_service_degraded_requests", "Requests answered by the fallback, by reason.", ["reason"]
)
PROBLEMS = Counter(
    "model_service_request_problems",
    "Refused requests and messages, by field and reason: each once of which some row is refused.",
    ["field", "reason"],
)
UNAUTHORISED = Counter("model_service_unauthorised_requests", "Requests without a valid key.")
PER_BIN = ("model_service_feature_bin", "model_service_feature_reference_ratio")
BINS = Counter(
    PER_BIN[0],
    "Rows that the model predicted, or a random share of very many, by version, feature and bin.",
    ["version", "feature", "bin"],
)
REFERENCE = Gauge(
    PER_BIN[1],
    "Share of the training rows in the bin.",
    ["version", "feature", "bin"],
    multiprocess_mode="mostrecent",
)
PREDICTION_BINS = Counter(
    "model_service_prediction_bin",
    "Requests by the bin of their first prediction, of the version and of the champion before it.",
    ["version", "bins", "bin"],
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
    "Messages consumed by `make stream`: predicted, duplicate, label or dead_letter.",
    ["outcome"],
)


KEPT = Counter(
    "model_service_feedback_predictions",
    "Predictions that wait for their label: kept, or lost because the database failed.",
    ["outcome"],
)
LABELS_RECEIVED = Counter(
    "model_service_feedback_labels",
    "Labels received: joined to a prediction, known, changed, waiting for one, or failed.",
    ["outcome"],
)
LABELLED = Counter(
    "model_service_labelled_rows",
    "Predictions whose label has come, of all and of each slice.",
    ["track", "version", "slice"],
)
LOSS = Counter(
    "model_service_loss",
    "Sum of their losses: log loss in nats, or the squared error.",
    ["track", "version", "slice"],
)
SQUARED_LOSS = Counter(
    "model_service_squared_loss",
    "Sum of the squares of their losses, for the interval of the mean.",
    ["track", "version", "slice"],
)
BASE_RATE_LOSS = Counter(
    "model_service_base_rate_loss",
    "Sum of the losses of always answering the mean of training, on the same rows.",
    ["track", "version", "slice"],
)
SQUARED_DIFFERENCE = Counter(
    "model_service_squared_loss_difference",
    "Sum of the squares of the differences between the two.",
    ["track", "version", "slice"],
)
LABEL_BIN = Counter(
    "model_service_label_bin",
    "Labels by the bin of their prediction.",
    ["track", "version", "bin", "label"],
)
CONFIDENCE_BIN = Counter(
    "model_service_confidence_bin",
    "Sum of the predicted probabilities of the first of the labels, by the same bins.",
    ["track", "version", "bin"],
)
DECISIONS = Counter(
    "model_service_decisions",
    "Labelled decisions by outcome, at the threshold from which on it pays to act.",
    ["track", "version", "outcome"],
)
DECISION_VALUE = Gauge(
    "model_service_decision_value",
    "What an outcome of a decision is worth, in the unit of training.toml.",
    ["version", "outcome"],
    multiprocess_mode="mostrecent",
)
EVALUATION_LOSS = Gauge(
    "model_service_evaluation_loss",
    "Mean loss on the rows for evaluation.",
    ["version"],
    multiprocess_mode="mostrecent",
)


RETRAINING_END = Gauge(
    "model_service_retraining_end_timestamp_seconds",
    "When a retraining that `make retrainer` began last ended so, in Unix time; 0 is never.",
    ["outcome"],
)

MEMORY = "model_service_memory_bytes"
QUALITY = (LABELLED, LOSS, SQUARED_LOSS, BASE_RATE_LOSS, SQUARED_DIFFERENCE)
OF_LABELS = (
    *(*QUALITY, LABEL_BIN, CONFIDENCE_BIN),
    *(DECISIONS, DECISION_VALUE, EVALUATION_LOSS),
)
"""Shown where a database for labels is set."""
PER_VERSION = (
    *PER_BIN,
    *(
        each._name
        for each in (INFERENCE, WORKERS, CREATED, TRAINED_ROWS, PREDICTION_BINS, *OF_LABELS)
    ),
)
"""Shown of the versions that were served or labelled last alone: each promotion adds series."""
SHOWN_VERSIONS = 3
"""Those that were trained last, of what was served; and what is served."""
MEMORY_SECONDS = 5
"""Between two looks at the memory, which takes milliseconds a process."""


@cache
def _series(metric: MetricWrapperBase, *labels: str) -> Any:
    """Return one series of a metric: looking it up costs more than counting."""
    return metric.labels(*labels)


LABELS = {
    "bin": "of a number 10 intervals, with their upper ends, and `missing`; of a category its 20 "
    "most frequent values, `other` and `missing`",
    "bins": "a fingerprint of the bins: versions with the same count alike; two for each version",
    "feature": "a feature, or `(prediction)`",
    "field": "a field of the schema, or `other`",
    "label": "`true` and `false`; of classes `right` and `wrong`; of a number whether it was "
    "`above` or `below` its prediction",
    "outcome": "of a message `predicted`, `duplicate`, "
    "`dead_letter`; of a prediction `kept`, `lost`; of a label `joined`, `known`, `changed`, "
    "`waiting`, `failed`; of a decision "
    "`true_positive` and so on; of a retraining `promoted`, `nothing_new`, `refused`, `failed`, "
    "`killed`, `asked`, `not_asked`, `declined`",
    "reason": "of a degraded answer `no_model`, `error`, `not_finite`, `slow`; of a problem "
    "`missing`, `type`, `range`, `value`, `unknown_field`, `length`",
    "result": "`ok`, `paused`, or why it failed: 9 in all",
    "route": "a path of the interface or of your routes, as `/v2/models/{name}/infer`; of unknown "
    "ones `/api/other`",
    "slice": "`(all)`, or a category of `slices` in training.toml and one of its bins",
    "source": "another service that you ask",
    "state": "`live`, `last_known`, `too_old`, `missing`",
    "status": "of HTTP",
    "track": "`stable`, `canary` or `shadow`: a replica has one",
    "version": "of the model; only of predictions more than the last three are shown",
}
"""What bounds the values of each label."""


def series_of(metric: Counter | Gauge) -> str:
    """Return the name of the series of a metric, as rules ask for it."""
    return f"{metric._name}_total" if isinstance(metric, Counter) else metric._name


def described() -> list[Metric]:
    """Return each metric of the service, without what was counted."""
    _duration()
    own = (each for each in REGISTRY.collect() if each.name.startswith(PREFIX))
    return sorted([*own, _memory()], key=lambda each: each.name)


def labels_of(name: str) -> Sequence[str]:
    """Return the labels of a metric, of which the track is not one."""
    found = REGISTRY._names_to_collectors.get(name)
    return found._labelnames if isinstance(found, MetricWrapperBase) else ()


def use_objectives(half: float, nearly_all: float) -> None:
    """Count slow requests from now on, and show where the objectives lie among the latencies.

    It must come before the first route is published. A counter of slow requests has a history
    that a bucket would not have, whose bound is another after each change of the objective.

    Args:
        half: Seconds in which half of the requests are answered; the bound of a bucket.
        nearly_all: Those in which 99 of 100 are; what takes longer is slow.
    """
    global _slow_from
    _objectives.update((half, nearly_all))
    _slow_from = nearly_all
    OBJECTIVE.set(nearly_all)


def publish_start() -> None:
    """Publish when this process was started, or the supervisor of which it is a copy."""
    START.set(_started)


def count_ended_worker() -> None:
    """Count a worker that ended without being told to; the supervisor does, which lives on."""
    WORKERS_ENDED.inc()


def publish_route(route: str) -> None:
    """Publish a route's failures at zero: a series must begin before it grows."""
    _series(_duration(), route)
    if _slow_from < math.inf:  # else nobody counts them, and none must seem to be slow
        _series(SLOW, route)
    for status in (200, *FAILURES):
        _series(REQUESTS, route, str(status))


def publish_model(version: str, created: float, loaded: bool, before: str | None) -> None:
    """Publish which version this worker serves.

    Args:
        version: The version.
        created: When it was trained, in Unix time.
        loaded: Whether it can be used; else its fallback answers.
        before: The version that it served until now.
    """
    if before:
        _series(WORKERS, before).set(0)
    _series(WORKERS, version).set(int(loaded))
    _series(CREATED, version).set(created)
    _series(PREDICTIONS, version)
    _series(INFERENCE, version)


def count_call(version: str, rows: int, seconds: float) -> None:
    """Count a call of the model."""
    _series(INFERENCE, version).observe(seconds)
    BATCH_ROWS.observe(rows)


def count_request(route: str, status: int, seconds: float) -> None:
    """Count an answer and its duration."""
    _series(_duration(), route).observe(seconds)
    if seconds > _slow_from:
        _series(SLOW, route).inc()
    _series(REQUESTS, route, str(status)).inc()


def count_predictions(version: str, degraded: str | None, rows: int) -> None:
    """Count predicted rows, by the version that answered, or by why it did not."""
    if degraded:
        _series(DEGRADED, degraded).inc(rows)
        _series(DEGRADED_REQUESTS, degraded).inc()
    else:
        _series(PREDICTIONS, version).inc(rows)


def publish_reasons(reasons: Iterable[str]) -> None:
    """Publish each reason for a degraded answer at zero: a series must begin before it grows."""
    for reason in reasons:
        _series(DEGRADED, reason)
        _series(DEGRADED_REQUESTS, reason)


def count_problems(found: Iterable[tuple[str | None, str]], known: Container[str | None]) -> None:
    """Count a refused request by its problems; a client must not be able to invent series.

    Problems that are alike count once, however many rows have them: what they are compared with
    is requests, as of a refused one nobody knows the rows.

    Args:
        found: Field and reason of each problem.
        known: Fields of the schema; all others are counted as "other".
    """
    for field, reason in {
        (field if field in known else "other", reason) for field, reason in found
    }:
        _series(PROBLEMS, str(field), reason).inc()


def publish_training_rows(version: str, rows: int) -> None:
    """Publish of how many rows the shares in the bins are."""
    _series(TRAINED_ROWS, version).set(rows)


def publish_bin(version: str, feature: str, name: str, share: float) -> None:
    """Publish a bin with the share of the training rows in it."""
    _series(REFERENCE, version, feature, name).set(share)
    _series(BINS, version, feature, name)


def count_bin(version: str, feature: str, name: str, rows: int) -> None:
    """Count predicted rows whose value of a feature lies in a bin."""
    _series(BINS, version, feature, name).inc(rows)


def publish_prediction_bin(version: str, bins: str, name: str) -> None:
    """Publish a bin without predictions: a series must begin before it grows."""
    _series(PREDICTION_BINS, version, bins, name)


def count_prediction_bin(version: str, bins: str, name: str, requests: int) -> None:
    """Count requests whose first prediction lies in a bin.

    Args:
        version: The version that predicted.
        bins: The fingerprint of the bins.
        name: Of the bin.
        requests: How many.
    """
    _series(PREDICTION_BINS, version, bins, name).inc(requests)


def count_kept(outcome: str, predictions: int) -> None:
    """Count predictions that wait for their label, or are lost for it."""
    _series(KEPT, outcome).inc(predictions)


def count_labels(outcome: str, labels: int) -> None:
    """Count labels by what became of them."""
    _series(LABELS_RECEIVED, outcome).inc(labels)


def publish_expected(version: str, loss: float, worth: Mapping[str, float]) -> None:
    """Publish how good a version was when it was trained, and what outcomes are worth."""
    _series(EVALUATION_LOSS, version).set(loss)
    for outcome, value in worth.items():
        _series(DECISION_VALUE, version, outcome).set(value)


def publish_slice(track: str, version: str, name: str) -> None:
    """Publish a slice without rows: a series must begin before it grows."""
    for metric in QUALITY:
        _series(metric, track, version, name)


def publish_label_bin(track: str, version: str, name: str, labels: Iterable[str]) -> None:
    """Publish a bin of predictions without labels."""
    _series(CONFIDENCE_BIN, track, version, name)
    for label in labels:
        _series(LABEL_BIN, track, version, name, label)


def publish_outcomes(track: str, version: str, outcomes: Iterable[str]) -> None:
    """Publish that there was no such outcome of a decision yet."""
    for outcome in outcomes:
        _series(DECISIONS, track, version, outcome)


def count_loss(track: str, version: str, name: str, loss: float, base_rate: float) -> None:
    """Count the loss of a labelled prediction in a slice, and that of the mean of training."""
    values = (1, loss, loss * loss, base_rate, (loss - base_rate) ** 2)
    for metric, value in zip(QUALITY, values, strict=True):
        _series(metric, track, version, name).inc(value)


def count_label(track: str, version: str, name: str, label: str, confidence: float) -> None:
    """Count a label in the bin of its prediction, and the probability that was predicted."""
    _series(LABEL_BIN, track, version, name, label).inc()
    _series(CONFIDENCE_BIN, track, version, name).inc(confidence)


def count_decision(track: str, version: str, outcome: str) -> None:
    """Count what came of a decision."""
    _series(DECISIONS, track, version, outcome).inc()


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


def render(track: str) -> tuple[bytes, str]:
    """Return all metrics, summed over the worker processes, and their content type.

    Args:
        track: Stands as a label on each series of the service.

    Raises:
        CountsError: those of the other processes cannot be read.
    """
    found = counts.read() if FOLDER in os.environ else REGISTRY.collect()
    return _rendered([*found, _memory()], track)


def render_retrainings(track: str, ends: Mapping[str, float]) -> tuple[bytes, str]:
    """Return what a retrainer shows: no metric of a service, or it would seem to be one.

    Args:
        track: Stands as a label on each series.
        ends: By outcome, when a retraining last ended so, in Unix time.
    """
    for outcome, when in ends.items():
        _series(RETRAINING_END, outcome).set(when)
    return _rendered(RETRAINING_END.collect(), track)


def _rendered(found: Iterable[Metric], track: str) -> tuple[bytes, str]:
    return generate_latest(_Shown(found, track)), CONTENT_TYPE_LATEST


class _Shown(CollectorRegistry):
    """What was counted, with the track, and without versions that were served long ago.

    There are hundreds of series for each version, and what is published in a process stays in it.
    """

    def __init__(self, found: Iterable[Metric], track: str) -> None:
        super().__init__()
        self._found, self._track = list(found), {"track": track}

    def collect(self) -> Iterator[Metric]:
        versions = self._versions()
        for metric in self._found:
            samples: Iterable[Sample] = metric.samples
            if versions and metric.name in PER_VERSION:
                samples = (each for each in samples if each.labels["version"] in versions)
            if metric.name.startswith(PREFIX):
                # A label may come to another replica than the one that predicted.
                samples = (each._replace(labels=self._track | each.labels) for each in samples)
            metric.samples = list(samples)
            yield metric

    def _versions(self) -> set[str]:
        """Return which are shown, whichever process is asked: from what all have published."""
        values = {
            metric.name: {each.labels["version"]: each.value for each in metric.samples}
            for metric in self._found
            if metric.name in {WORKERS._name, CREATED._name, LABELLED._name}
        }
        created = values.get(CREATED._name, {})
        last = sorted(created, key=lambda version: -created[version])[:SHOWN_VERSIONS]
        served = values.get(WORKERS._name, {})
        labelled = sorted(values.get(LABELLED._name, {}))[-SHOWN_VERSIONS:]  # begin with their time
        return {*last, *labelled, *(version for version, workers in served.items() if workers)}


def _memory() -> Metric:
    """Return the proportional set size of all processes; without a sample where it is not known."""
    words = "Memory of all processes of the service; what they share counts once."
    metric = GaugeMetricFamily(MEMORY, words, value=memory_bytes())
    if not metric.samples[0].value:
        metric.samples.clear()
    return metric


def memory_bytes() -> int:
    """Return the proportional set size of all processes; 0 where it is not known."""
    return _measured(int(time.time() / MEMORY_SECONDS))


@lru_cache(1)
def _measured(_: int) -> int:
    """Return the bytes; the same while the argument is."""
    pids = {str(os.getpid())}
    if FOLDER in os.environ:
        files = Path(os.environ[FOLDER]).glob("*_*.db")
        pids |= {path.stem.rpartition("_")[2] for path in files}
    return sum(
        int(kilobytes) * 1024
        for pid in pids
        for kilobytes in re.findall(r"^Pss: +(\d+) kB$", _of_process(pid), re.MULTILINE)
    )


def _of_process(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:  # it has ended, or this is no Linux
        return ""
