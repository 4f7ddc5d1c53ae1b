"""Drifted traffic, an alert, a retraining, a promotion, and the alert ends: on one machine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import polars as pl
import pytest
import yaml

from chassis import copies
from chassis.flights import CONTRACT, PROJECT
from chassis.monitoring.webhook import Webhook, configuration, running_webhook
from chassis.retrainer.process import Running, running_retrainer
from ml_chassis import registry, slo
from ml_chassis.data.store import Store
from ml_chassis.monitoring import rules
from ml_chassis.monitoring.rules import drift
from ml_chassis.testing import running_service
from prometheus import Prometheus, quicker, running_alertmanager, running_prometheus
from waiting import wait_for

pytestmark = pytest.mark.slow

SERVICE = "service"
STATED = slo.read().model_copy(update={"job": SERVICE})
FASTER = 60
"""A minute of the rules is a second."""
BATCH = 100
ROWS = 3_000
NEW = "ZZ"
"""A carrier that began to fly after the champion was trained."""
SHARE = 0.4
TRAINING = """
seed = 1
test_from = 2013-10-01
[parameters]
max_iter = 20
learning_rate = 0.1
max_leaf_nodes = 8
min_samples_leaf = 40
l2_regularization = 1.0
[retraining]
hours_between = 24
[gates.gain_over_champion]
minimum = -1
reason = "any that knows the new carrier"
"""
ALERT = "ModelServiceFeatureDrift"


class Loop(NamedTuple):
    """All that runs."""

    folder: Path
    service: str
    prometheus: Prometheus
    alertmanager: str
    people: Webhook
    retrainer: Running

    def champion(self) -> str:
        return registry.history(self.folder / "models")[0]

    def versions_served(self) -> set[str]:
        found = self.prometheus.ask("model_service_model_workers > 0")
        return {each.labels["version"] for each in found}

    def drifted(self, version: str) -> set[str]:
        """Return the features that have drifted, by what Prometheus has recorded."""
        above = f'{drift.PSI}{{version="{version}"}} > {drift.LIMIT}'
        return {each.labels["feature"] for each in self.prometheus.ask(above)}

    def rows(self, version: str) -> float:
        """Return how many rows of it are recorded."""
        found = self.prometheus.ask(f'min({drift.ROWS}{{version="{version}"}})')
        return found[0].value if found else 0

    def retrainings(self) -> list[dict[str, Any]]:
        told = httpx.get(self.retrainer.url, trust_env=False).raise_for_status().json()
        return list(told["retrainings"])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project whose champion knows half of the flights."""
    folder = tmp_path_factory.mktemp("loop")
    copies.copied(folder)
    (folder / "training.toml").write_text(TRAINING)
    stated = folder / "slo.yaml"
    copies.edit(stated, {"(?m)^job: .*": f"job: {SERVICE}"})
    add(folder, 0)
    copies.chassis(folder, "train", **sources(folder))
    return folder


def add(folder: Path, half: int) -> None:
    """Let half of the flights come; those of the second one are mostly of a new carrier."""
    flights = pl.read_parquet("data/raw/flights.parquet").sample(ROWS, seed=1)[half::2]
    if half:
        carrier = pl.when(pl.int_range(pl.len()) % 5 < 5 * 2 * SHARE).then(pl.lit(NEW))
        flights = flights.with_columns(carrier.otherwise("carrier").alias("carrier"))
    (folder / "flights").mkdir(exist_ok=True)
    flights.write_parquet(folder / "flights" / f"{half}.parquet")


def sources(folder: Path) -> dict[str, str]:
    return {"MODEL_SERVICE_SOURCES": json.dumps({"flights": f"{folder}/flights"})}


@pytest.fixture(scope="module")
def drifted(project: Path) -> list[dict[str, Any]]:
    """Return rows of training, of which a part is of the new carrier."""
    store = Store(PROJECT, f"sqlite:///{project}/data/service.db")
    time = PROJECT.time or ""
    known = store.features().filter(pl.col(time).dt.month() < 10).sample(fraction=1, seed=2)
    store.close()
    new = pl.int_range(pl.len()) % 5 < 5 * SHARE
    rows = known.with_columns(
        pl.when(new).then(pl.lit(NEW)).otherwise("carrier").alias("carrier")
    ).select(column.name for column in CONTRACT.features)
    return rows.to_dicts()


@pytest.fixture(scope="module")
def loop(project: Path) -> Iterator[Loop]:
    """Run all of it."""
    faster = quicker(yaml.safe_load(rules.text(STATED)), FASTER)
    settings = {**copies.settings_of(project), **sources(project)}
    with (
        running_service(project / "models", project) as service,
        running_webhook() as people,
        running_retrainer(project, **settings) as retrainer,
    ):
        told = {
            "page": f"{people.url}/page",
            "ticket": f"{people.url}/ticket",
            "retrain": f"{retrainer.url}/alerts",
        }
        targets = {SERVICE: [service, retrainer.url]}
        with (
            running_alertmanager(project, configuration(**told)) as alertmanager,
            running_prometheus(project, targets, faster, alertmanager) as prometheus,
        ):
            yield Loop(project, service, prometheus, alertmanager, people, retrainer)


def test_what_drifted_is_learnt_and_the_alert_ends(
    loop: Loop, drifted: list[dict[str, Any]]
) -> None:
    (first,) = registry.history(loop.folder / "models")
    wait_for(lambda: loop.versions_served() == {first}, "Prometheus has seen the champion")
    add(loop.folder, 1)

    def told_after_asking() -> bool:
        """Ask until it is told: a scrape may miss what comes right after a start."""
        ask(loop.service, drifted)
        return ALERT in loop.people.told("ticket")

    wait_for(told_after_asking, "the drift of a feature is a ticket")
    assert "carrier" in loop.drifted(first)

    wait_for(lambda: loop.champion() != first, "the challenger is promoted")
    second = loop.champion()
    (change, _) = registry.changes(loop.folder / "models")
    assert change.who.startswith("alert ModelService")
    wait_for(lambda: "promoted" in [each["outcome"] for each in loop.retrainings()])
    wait_for(lambda: loop.versions_served() == {second}, "the service follows")

    def known_after_asking() -> bool:
        ask(loop.service, drifted)
        return loop.rows(second) >= drift.LEAST_ROWS and not loop.drifted(second)

    wait_for(known_after_asking, "the same rows have not drifted for the new champion")
    wait_for(lambda: ALERT in loop.people.told("ticket", "resolved"), "the alert ends")
    wait_for(lambda: active(loop) == set(), "no alert is left")

    ended = 'model_service_retraining_end_timestamp_seconds{outcome="promoted"} > 0'
    wait_for(lambda: bool(loop.prometheus.ask(ended)), "its end is a metric")
    outcomes = [each["outcome"] for each in loop.retrainings()]
    assert outcomes.count("promoted") == 1
    assert {*outcomes} <= {"promoted", "declined"}


def active(loop: Loop) -> set[str]:
    """Return the alerts that Alertmanager knows, of drift."""
    found = httpx.get(f"{loop.alertmanager}/api/v2/alerts", trust_env=False).json()
    names = {each["labels"]["alertname"] for each in found}
    return {name for name in names if "Drift" in name}


def ask(url: str, rows: list[dict[str, Any]]) -> None:
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        for start in range(0, len(rows), BATCH):
            body = {"rows": rows[start : start + BATCH]}
            client.post("/predict", json=body).raise_for_status()
