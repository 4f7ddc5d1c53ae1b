"""The counts of worker processes that ended are kept, their files are not; what is shown."""

import subprocess
import sys
from collections import deque
from pathlib import Path
from unittest.mock import Mock

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from ml_chassis.monitoring import metrics


def write(folder: Path, kind: str, pid: int, name: str, value: float) -> None:
    """Write a value as a worker does."""
    file = MmapedDict(str(folder / f"{kind}_{pid}.db"))
    file.write_value(mmap_key(name, name, ["label"], ["x"], "A help text."), value, 1.0)
    file.close()


def lines() -> list[str]:
    """Return what is shown, in an order of its own."""
    shown = metrics.render("canary")[0].decode().splitlines()
    return sorted(line for line in shown if metrics.MEMORY not in line)


def test_ended_workers_are_added_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(metrics.FOLDER, str(tmp_path))
    for pid in (7, 8, 9):
        write(tmp_path, "counter", pid, "rows_total", pid)
        write(tmp_path, "histogram", pid, "seconds_sum", 0.5)
        write(tmp_path, "gauge_mostrecent", pid, "share", 0.25)
    before = lines()

    metrics.add_up_ended(7)
    metrics.add_up_ended(8)

    assert lines() == before
    assert 'rows_total{label="x"} 24.0' in before
    assert {path.stem for path in tmp_path.glob("*.db")} == {
        *("counter_9", "histogram_9", "gauge_mostrecent_9"),
        *("counter_ended", "histogram_ended"),
    }


def test_bins_of_versions_that_were_served_long_ago_are_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(metrics.FOLDER, str(tmp_path))
    monkeypatch.setattr(metrics, "_recent", recent := deque[str](maxlen=3))
    monkeypatch.setattr(metrics, "_series", Mock())
    labels = ["version", "feature", "bin"]
    file = MmapedDict(str(tmp_path / "counter_7.db"))
    for version in ("v1", "v2", "v3", "v4", "v2"):  # the last was rolled back to
        metrics.publish_bin(version, "seats", "missing", 0.5)
        metrics.publish_model(version, 0, "none")
        for family in ("model_service_feature_bin", "model_service_predictions"):
            values = [version, "seats", "missing"]
            file.write_value(mmap_key(family, f"{family}_total", labels, values, "Help."), 1.0, 0.0)
    file.close()

    shown = [line for line in lines() if not line.startswith("#")]

    assert list(recent) == ["v3", "v4", "v2"]
    assert sum(line.startswith("model_service_feature_bin_total") for line in shown) == 3
    assert sum(line.startswith("model_service_predictions_total") for line in shown) == 4
    assert not any("feature_bin" in line and 'version="v1"' in line for line in shown)


def test_each_series_of_the_service_has_its_track() -> None:
    shown = [line for line in lines() if line.startswith(metrics.PREFIX)]

    assert shown
    assert [line for line in shown if 'track="canary"' not in line] == []


def test_a_latency_that_is_an_objective_is_the_bound_of_a_bucket() -> None:
    shown = run(
        "from ml_chassis.monitoring import metrics",
        "metrics.use_objectives([0.037])",
        "metrics.count_request('/predict', 200, 0.036)",
        "print(metrics.render('stable')[0].decode())",
    )

    bucket = 'request_duration_seconds_bucket{le="%s",route="/predict",track="stable"} %s'
    assert bucket % (0.037, 1.0) in shown
    assert bucket % (0.025, 0.0) in shown


def run(*lines: str) -> str:
    """Return what a process of its own prints."""
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
