"""slo.yaml is checked."""

import re
from pathlib import Path

import pytest

from ml_chassis import slo
from ml_chassis.slo import SloError

STATED = slo.read()
P98 = (
    "objectives.latency_p98_ms: there is no such key; give some of "
    "latency_p50_ms, latency_p99_ms, error_share, "
)


@pytest.mark.parametrize(
    ("line", "wrong", "named"),
    [
        ("latency_p99_ms: .*", "latency_p98_ms: 50", P98),
        ("latency_p99_ms: .*", "", "objectives.latency_p99_ms: Field required"),
        ("latency_p99_ms: .*", "latency_p99_ms: fast", "objectives.latency_p99_ms"),
        ("latency_p99_ms: .*", "latency_p99_ms: .inf", "objectives.latency_p99_ms"),
        ("latency_p99_ms: .*", "latency_p99_ms: 0", "objectives.latency_p99_ms"),
        ("latency_p99_ms: .*", "latency_p99_ms: 0.1", "must not be below latency_p50_ms"),
        ("error_share: .*", "error_share: 1.5", "objectives.error_share"),
        ("memory_mib: .*", "memory_mib: 0.5", "budget.memory_mib"),
        ("memory_mib: .*", 'memory_mib: "512"', "budget.memory_mib"),
        ("cpu_cores_limit: .*", "cpu_cores_limit: 0.1", "must not be below cpu_cores"),
        ("requests_per_second: .*", "requests_per_second: 0", "traffic.requests_per_second"),
        ("window_minutes: .*", "window_minutes: 2", "release.window_minutes"),
        ("least_requests: .*", "least_requests: 10", "release.least_requests"),
        ("weights: .*", "weights: [50, 10]", "release: weights must rise"),
        ("weights: .*", "weights: [5, 100]", "release.weights.1"),
        (
            "least_requests: .*",
            "fewest_requests: 500",
            "release.fewest_requests: there is no such key",
        ),
        ("share: 50", "share: 100", "experiment.share"),
        ("better: .*", "better: more", "experiment.better"),
        ("confidence: .*", "confidence: 95", "experiment.confidence"),
        ("least_difference: .*", "least_difference: 0", "experiment.least_difference"),
        ("least_units: .*", "least_units: 5", "experiment.least_units"),
        ("traffic:", "traffic: [", "slo.yaml: line "),
        ("latency_p50_ms: 10", "latency_p50_ms: 2013-99-99", "slo.yaml"),
        ("budget:", "budgets:", "budgets: there is no such key; give some of owner, job, traffic"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, line: str, wrong: str, named: str) -> None:
    text, count = re.subn(f"(?m)^( *){line}$", rf"\1{wrong}", slo.SLO.read_text(encoding="utf-8"))
    assert count == 1
    changed = tmp_path / "slo.yaml"
    changed.write_text(text, encoding="utf-8")

    with pytest.raises(SloError, match=re.escape(named)):
        slo.read(changed)


def test_a_file_from_before_releases_and_experiments_has_the_defaults(tmp_path: Path) -> None:
    text = slo.SLO.read_text(encoding="utf-8")
    before = tmp_path / "slo.yaml"
    before.write_text(text.partition("release:")[0], encoding="utf-8")

    assert slo.read(before).release == slo.Release() == STATED.release
    assert slo.read(before).experiment == slo.Experiment() == STATED.experiment


@pytest.mark.parametrize("content", [b"", b"- 1", b"\xff\xfe\x00"])
def test_what_is_no_slo_is_told(tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "slo.yaml"
    broken.write_bytes(content)

    with pytest.raises(SloError, match=r"slo\.yaml"):
        slo.read(broken)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SloError, match=r"none\.yaml"):
        slo.read(tmp_path / "none.yaml")
