"""The real service, asked with rows that drifted and with rows that did not, under Prometheus."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import httpx
import numpy as np
import polars as pl
import pytest
import yaml

from chassis.flights import CONTRACT, PROJECT
from ml_chassis import registry, slo
from ml_chassis.monitoring import metrics, rules
from ml_chassis.monitoring.rules import drift
from ml_chassis.observe.demo.quicker import quicker
from ml_chassis.serving.predictor import Predictor
from ml_chassis.testing import Trained, running_service
from ml_chassis.training.dataset import to_dataset
from ml_chassis.training.shift import Shift, compare, shifts
from prometheus import Prometheus, running_prometheus
from waiting import wait_for

pytestmark = pytest.mark.slow
STATED = slo.read().model_copy(update={"job": ""})
BATCH = 100
FASTER = 60
"""A minute of the rules is a second."""


class Watched(NamedTuple):
    """Two services that were asked: with the rows of later months, and with those of training."""

    prometheus: Prometheus
    rows: dict[str, pl.DataFrame]
    times: dict[str, int]
    """How often each of them came: what a late scrape has missed comes again."""


@pytest.fixture(scope="module")
def watched(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Ask both, and wait until Prometheus has seen it."""
    folder = tmp_path_factory.mktemp("prometheus")
    rows = trained.store.features()
    from_day = pl.lit(trained.manifest.test_from).cast(rows[PROJECT.time or ""].dtype)
    later = pl.col(PROJECT.time or "") >= from_day
    asked = {
        "later": rows.filter(later).sample(fraction=1, shuffle=True, seed=1),
        "same": rows.filter(~later).sample(2_400, seed=1),
    }
    with (
        running_service(trained.models, folder) as first,
        running_service(trained.models, folder) as second,
        running_prometheus(
            folder,
            {"later": [first], "same": [second]},
            quicker(yaml.safe_load(rules.text(STATED)), FASTER),
        ) as prometheus,
    ):
        times = dict.fromkeys(asked, 0)
        for url, job in zip((first, second), asked, strict=True):
            while not has_most(prometheus, job, asked[job].height):
                ask(url, asked[job])
                times[job] += 1
                wait_for(partial(settled, prometheus, job, url), "all counts were seen")
        yield Watched(prometheus, asked, times)


def settled(prometheus: Prometheus, job: str, url: str) -> bool:
    """Return whether Prometheus has seen all that the service has counted, and recorded it."""
    name = metrics.series_of(metrics.BINS)
    lines = httpx.get(f"{url}/metrics", trust_env=False).text.splitlines()
    counted = sum(float(each.split()[-1]) for each in lines if each.startswith(f"{name}{{"))
    seen = prometheus.ask(f'sum({name}{{job="{job}"}})')
    new = prometheus.ask(f'{drift.NEW}{{job="{job}"}} > 0')
    return 0 < counted == sum(each.value for each in seen) and not new


def has_most(prometheus: Prometheus, job: str, rows: int) -> bool:
    """Return whether the window has half of the rows; scrapes that came too late cost others."""
    found = prometheus.ask(f'{drift.ROWS}{{job="{job}"}}')
    return bool(found) and all(each.value > rows / 2 for each in found)


def ask(url: str, rows: pl.DataFrame) -> None:
    names = [column.name for column in CONTRACT.features]
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        for part in rows.select(names).iter_slices(BATCH):
            client.post("/predict", json={"rows": part.to_dicts()}).raise_for_status()


def measured(trained: Trained, rows: pl.DataFrame) -> list[Shift]:
    """Return the same index of the same rows, by NumPy and SciPy."""
    graph, manifest = registry.load(trained.models)
    data = to_dataset(PROJECT, rows)
    predicted = Predictor(CONTRACT, graph).predict(data.numeric, data.categorical)
    return shifts(
        CONTRACT,
        manifest.reference,
        manifest.rows["train"],
        data.numeric,
        data.categorical,
        predicted,
        STATED.drift.psi,
    )


def test_what_drifted_in_later_months_is_told_and_nothing_else(
    watched: Watched, trained: Trained
) -> None:
    drifted = {each.feature for each in measured(trained, watched.rows["later"]) if each.drifted}
    told = {("later", "ModelServiceFeatureDrift", feature) for feature in drifted}

    assert drifted == {"temperature", "dew_point"}
    wait_for(lambda: watched.prometheus.firing() == told, f"these fire: {told}")


@pytest.mark.parametrize("job", ["later", "same"])
def test_the_index_is_that_of_the_rows_that_all_replicas_have_counted(
    job: str, watched: Watched, trained: Trained
) -> None:
    manifest = trained.manifest

    def recorded(series: str, *labels: str) -> dict[tuple[str, ...], float]:
        found = watched.prometheus.ask(f'{series}{{job="{job}"}}')
        return {tuple(each.labels[name] for name in labels): each.value for each in found}

    counted = recorded(drift.BIN_ROWS, "feature", "bin")
    expected = {}
    for feature, bins in manifest.reference.bins.items():
        counts = np.array([counted[feature, name] for name in bins.names])
        least = STATED.drift.psi
        expected[(feature,)] = compare(feature, bins, manifest.rows["train"], counts, least)
    rows = watched.rows[job].height
    assert rows / 2 < counts.sum() < 1.5 * rows * watched.times[job]
    index, limit = recorded(drift.PSI, "feature"), recorded(drift.LIMIT, "feature")
    assert index == {name: pytest.approx(each.index, rel=1e-6) for name, each in expected.items()}
    assert limit == {name: pytest.approx(each.limit, rel=1e-3) for name, each in expected.items()}
