"""What is shown of the metrics."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from ml_chassis.monitoring import counts, metrics


def lines() -> list[str]:
    """Return what is shown, in an order of its own."""
    shown = metrics.render("canary")[0].decode().splitlines()
    return sorted(line for line in shown if metrics.MEMORY not in line)


def test_versions_that_were_served_long_ago_are_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(counts.FOLDER, str(tmp_path))
    versions = ("v1", "v2", "v3", "v4", "v5")
    for number, version in enumerate(versions):
        per_version(tmp_path, "counter", "model_service_feature_bin", version, 1)
        per_version(tmp_path, "counter", "model_service_predictions", version, 1)
        created = "model_service_model_created_timestamp_seconds"
        per_version(tmp_path, "gauge_mostrecent", created, version, number)
        served = float(version == "v1")  # it was rolled back to
        per_version(tmp_path, "gauge_livesum", "model_service_model_workers", version, served)

    def shown(name: str) -> set[str]:
        return {
            each for each in versions for line in lines() if line.startswith(name) and each in line
        }

    assert shown("model_service_feature_bin_total") == {"v1", "v3", "v4", "v5"}
    assert shown("model_service_predictions_total") == set(versions)


def per_version(folder: Path, kind: str, family: str, version: str, value: float) -> None:
    """Write a value of a version, as a worker does."""
    name = f"{family}_total" if kind == "counter" else family
    file = MmapedDict(str(folder / f"{kind}_7.db"))
    file.write_value(mmap_key(family, name, ["version"], [version], "Help."), value, 1.0)
    file.close()


def test_each_series_of_the_service_has_its_track() -> None:
    said = run(
        "from ml_chassis.monitoring import metrics",
        "metrics.count_request('/predict', 200, 0.036)",
        "print(metrics.render('canary')[0].decode())",
    )
    shown = [line for line in said.splitlines() if line.startswith(metrics.PREFIX)]

    assert len(shown) > 10
    assert [line for line in shown if 'track="canary"' not in line] == []


def test_a_latency_that_is_an_objective_is_the_bound_of_a_bucket() -> None:
    shown = run(
        "from ml_chassis.monitoring import metrics",
        "metrics.use_objectives(0.037, 0.2)",
        "metrics.count_request('/predict', 200, 0.036)",
        "print(metrics.render('stable')[0].decode())",
    )

    bucket = 'request_duration_seconds_bucket{le="%s",route="/predict",track="stable"} %s'
    assert bucket % (0.037, 1.0) in shown
    assert bucket % (0.025, 0.0) in shown


def test_what_takes_longer_than_the_objective_is_slow() -> None:
    shown = run(
        "from ml_chassis.monitoring import metrics",
        "metrics.use_objectives(0.01, 0.037)",
        "metrics.publish_route('/other')",
        "[metrics.count_request('/predict', 200, each) for each in (0.036, 0.037, 0.038, 1)]",
        "print(metrics.render('stable')[0].decode())",
    )

    assert 'slow_requests_total{route="/predict",track="stable"} 2.0' in shown
    assert 'slow_requests_total{route="/other",track="stable"} 0.0' in shown
    assert 'latency_objective_seconds{track="stable"} 0.037' in shown


def test_without_an_objective_nothing_seems_to_be_quick() -> None:
    shown = run(
        "from ml_chassis.monitoring import metrics",
        "metrics.publish_route('/predict')",
        "metrics.count_request('/predict', 200, 100)",
        "print(metrics.render('stable')[0].decode())",
    )

    assert "slow_requests_total{" not in shown
    assert 'latency_objective_seconds{track="stable"} 0.0' in shown


def run(*lines: str) -> str:
    """Return what a process of its own prints."""
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
