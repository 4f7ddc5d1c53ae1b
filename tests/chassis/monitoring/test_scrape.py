"""What a running service shows to Prometheus, read by Prometheus' own tools."""

import subprocess
import time
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from chassis.flights import CONTRACT
from ml_chassis.monitoring import metrics
from ml_chassis.testing import Trained
from prometheus import tool
from waiting import wait_for

ROW = CONTRACT.example_row()


@dataclass(frozen=True)
class Scrape:
    """The samples of /metrics: by name, the value by the labels."""

    samples: dict[str, dict[frozenset[tuple[str, str]], float]]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have these labels."""
        found = self.samples.get(name, {})
        return sum(value for each, value in found.items() if labels.items() <= dict(each).items())


def scrape(client: httpx.Client) -> Scrape:
    """Return what is shown now."""
    samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    text = client.get("/metrics").raise_for_status().text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return Scrape(samples)


def ask(client: httpx.Client, *rows: dict[str, Any]) -> int:
    return client.post("/predict", json={"rows": list(rows)}).status_code


@pytest.fixture
def asked(client: httpx.Client) -> httpx.Client:
    """Return a client of a service that has answered and refused some requests."""
    assert ask(client, ROW, ROW) == 200
    assert ask(client, {**ROW, "wind_speed": -1}) == 422
    return client


def test_all_that_is_documented_is_there_and_nothing_else(asked: httpx.Client) -> None:
    documented = {
        each.name: {*metrics.labels_of(each.name), "track"} for each in metrics.described()
    }

    seen: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(asked.get("/metrics").text):
        if family.name.startswith(metrics.PREFIX):
            seen[family.name] = {name for each in family.samples for name in each.labels} - {"le"}

    assert seen.keys() <= documented.keys()
    assert {name: labels for name, labels in seen.items() if labels != documented[name]} == {}
    elsewhere = tuple(
        f"model_service_{each}_" for each in ("source", "stream", "feedback", "retraining")
    )
    absent = documented.keys() - seen.keys() - {each._name for each in metrics.OF_LABELS}
    assert {name for name in absent if not name.startswith(elsewhere)} == set()


def test_prometheus_finds_no_fault_with_names_and_units(asked: httpx.Client) -> None:
    text = asked.get("/metrics").text
    check = [tool("promtool"), "check", "metrics"]
    done = subprocess.run(check, input=text, capture_output=True, text=True, check=False)

    faults = (done.stdout + done.stderr).splitlines()
    assert [line for line in faults if metrics.PREFIX in line] == []
    wrong = text.replace("model_service_memory_bytes", "model_service_memory_megabytes")
    done = subprocess.run(check, input=wrong, capture_output=True, text=True, check=False)
    assert "model_service_memory_megabytes" in done.stdout + done.stderr


def test_what_was_refused_is_counted_by_field_and_reason(asked: httpx.Client) -> None:
    wrong = {
        ("wind_speed", "range"): {**ROW, "wind_speed": -1},
        ("carrier", "missing"): {name: ROW[name] for name in ROW if name != "carrier"},
        ("distance", "type"): {**ROW, "distance": "far"},
        ("other", "unknown_field"): {**ROW, "invented": 1},
        ("origin", "value"): {**ROW, "origin": "SFO"},
    }
    before = scrape(asked)
    for row in wrong.values():
        assert ask(asked, row) == 422
    after = scrape(asked)

    name = "model_service_request_problems_total"
    for field, reason in wrong:
        labels = {"field": field, "reason": reason}
        assert after.total(name, **labels) - before.total(name, **labels) == 1


def test_a_refused_request_counts_once_however_many_rows_are_wrong(asked: httpx.Client) -> None:
    name, labels = "model_service_request_problems_total", {"field": "distance", "reason": "type"}
    before = scrape(asked)
    assert ask(asked, *[{**ROW, "distance": "far"}] * 10) == 422

    assert scrape(asked).total(name, **labels) - before.total(name, **labels) == 1


def test_calls_of_the_model_and_their_rows_are_counted(asked: httpx.Client) -> None:
    before = scrape(asked)
    for _ in range(3):
        assert ask(asked, *[ROW] * 5) == 200
    after = scrape(asked)

    rows, calls = "model_service_batch_rows_sum", "model_service_batch_rows_count"
    assert after.total(rows) - before.total(rows) == 15
    assert after.total(calls) - before.total(calls) == 3
    seconds = "model_service_inference_duration_seconds"
    assert after.total(f"{seconds}_count") == after.total(calls)
    assert after.total(f"{seconds}_sum") > before.total(f"{seconds}_sum")


def test_the_model_its_age_the_memory_and_the_start_are_shown(
    asked: httpx.Client, trained: Trained
) -> None:
    version = {"version": trained.manifest.version}
    workers = "model_service_model_workers"
    wait_for(lambda: scrape(asked).total(workers, **version) == 2, "both workers serve it")
    found = scrape(asked)
    created = found.total("model_service_model_created_timestamp_seconds", **version)
    assert created == pytest.approx(trained.manifest.created_at.timestamp(), abs=1)
    assert 0 <= time.time() - found.total("model_service_start_time_seconds") < 3_600
    assert 50e6 < found.total("model_service_memory_bytes") < 2e9


def test_failures_are_there_before_the_first(asked: httpx.Client) -> None:
    found = scrape(asked)

    for status in map(str, metrics.FAILURES):
        labels = frozenset({("route", "/predict"), ("status", status), ("track", "stable")})
        assert labels in found.samples["model_service_requests_total"]
