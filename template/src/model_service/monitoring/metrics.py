"""The metrics of the service: every name is here and nowhere else."""

import logging
import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from ..contract import FEATURES

LOGGER = logging.getLogger("model_service")

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
PROBLEMS = Counter(
    "model_service_request_problems", "Problems found in refused requests, by field.", ["field"]
)

_FIELDS = {column.name for column in FEATURES}


def field_label(name: str | None) -> str:
    """Return a feature's name, or "other": a client must not be able to invent series."""
    return name if name in _FIELDS else "other"


def render() -> tuple[bytes, str]:
    """Return all metrics, summed over the worker processes, and their content type."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
