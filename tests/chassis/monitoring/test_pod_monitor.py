"""Prometheus reads a running service as the manifests of Kubernetes say, by the labels of its pods.

The pods are one service, which says of itself that it is stable.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

from chassis.flights import CONTRACT
from delivery.cluster import find, render
from delivery.operator import Labels, discovered, scrape_configs
from ml_chassis import slo
from ml_chassis.monitoring.files import MANIFEST
from ml_chassis.programs import LOCAL, free_port
from ml_chassis.testing import Trained, running_service
from prometheus import Prometheus, running_configured
from waiting import wait_for

pytestmark = pytest.mark.slow
BASE = Path("deploy/kubernetes/base")
ROLLOUT = MANIFEST.with_name("rollout.yaml")
KEY = "k" * 16
SCALING = ROLLOUT.with_name("scaling.yaml")
NAMESPACE = "flights"
JOB = slo.read().job
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def manifest(path: Path, kind: str) -> dict[str, Any]:
    """Return the object of a kind in a file."""
    (found,) = (
        each
        for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if each["kind"] == kind
    )
    return dict(found)


POD = manifest(BASE / "deployment.yaml", "Deployment")["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
CANARY = manifest(ROLLOUT, "Rollout")["spec"]["strategy"]["canary"]


class Asked(NamedTuple):
    """A running service, by the addresses of its ports."""

    http: str
    metrics: str


class Watched(NamedTuple):
    """A server that scrapes pods, and the file that says where they are."""

    server: Prometheus
    pods: Path
    address: str

    def show(self, **tracks: str | None) -> None:
        """Let there be these pods, with that label of Argo Rollouts or none, and another one."""
        own: Labels = POD["metadata"]["labels"]
        found = [
            {"targets": [self.address], "labels": discovered(pod, labels, NAMESPACE, port)}
            for pod, labels in {
                "other": {"app.kubernetes.io/name": "other"},
                **{pod: own | ({"track": track} if track else {}) for pod, track in tracks.items()},
            }.items()
            for port in (each["name"] for each in CONTAINER["ports"])
        ]
        whole = self.pods.with_suffix(".new")
        whole.write_text(json.dumps(found))
        whole.replace(self.pods)

    def tracks(self, series: str) -> dict[str, set[str]]:
        """Return the tracks of a series, by the pod; without a track, it is called so."""
        found: dict[str, set[str]] = {}
        for each in self.server.ask(series):
            assert "exported_track" not in each.labels
            found.setdefault(each.labels["pod"], set()).add(each.labels.get("track", "none"))
        return found


@pytest.fixture(scope="module")
def asked(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """Run the service with the variables of its container, and a key, which it says in a Secret."""
    port = str(free_port())
    given = {each["name"]: each["value"] for each in CONTAINER["env"]}
    given |= {"MODEL_SERVICE_METRICS_PORT": port, "MODEL_SERVICE_DRAIN_SECONDS": "1"}
    home = tmp_path_factory.mktemp("bentoml")
    with running_service(trained.models, home, MODEL_SERVICE_API_KEYS=KEY, **given) as url:
        body = {"rows": [CONTRACT.example_row()]}
        for _ in range(3):
            answer = httpx.post(
                f"{url}/predict", json=body, headers={"Authorization": f"Bearer {KEY}"}
            )
            answer.raise_for_status()
        yield Asked(url, f"{LOCAL}:{port}")


@pytest.fixture(scope="module")
def watched(asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Run a server that scrapes as production and staging say, and as a wrong PodMonitor does."""
    folder = tmp_path_factory.mktemp("prometheus")
    pods, rules = folder / "pods.json", folder / "rules.yaml"
    rules.write_text(yaml.safe_dump(manifest(MANIFEST, "PrometheusRule")["spec"]))
    right = manifest(BASE / "monitor.yaml", "PodMonitor")
    wrong = copy.deepcopy(right)
    wrong["metadata"]["name"] = "wrong"
    wrong["spec"]["podMetricsEndpoints"][0] |= {"honorLabels": True}
    del wrong["spec"]["jobLabel"]
    staging = find(render(Path(), "staging"), "PodMonitor")
    found = {"file_sd_configs": [{"files": [str(pods)], "refresh_interval": "1s"}]}
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            each | found
            for monitor in (right, wrong, staging)
            for each in scrape_configs(monitor, monitor["metadata"].get("namespace", NAMESPACE))
        ],
    }
    with running_configured(folder, configuration) as server:
        watched = Watched(server, pods, asked.metrics)
        watched.show(old="stable", new="canary", plain=None)
        wait_for(lambda: len(server.ask("up == 1")) == 9, "each pod is scraped by all")
        yield watched


def test_the_probes_and_the_metrics_are_answered_without_a_key(asked: Asked) -> None:
    for probe in PROBES:
        assert CONTAINER[probe]["httpGet"]["port"] == "http"
        assert httpx.get(f"{asked.http}{CONTAINER[probe]['httpGet']['path']}").status_code == 200
    assert httpx.get(f"{asked.http}/metrics").status_code == 401
    assert httpx.get(f"http://{asked.metrics}/metrics").status_code == 200


def test_each_pod_is_scraped_once_under_the_name_of_the_rules(watched: Watched) -> None:
    assert watched.tracks(f'up{{job="{JOB}"}}') == {
        **{"old": {"stable"}, "new": {"canary"}},
        "plain": {"none"},
    }
    assert {each.labels["endpoint"] for each in watched.server.ask("up")} == {"metrics"}
    assert len(watched.server.ask(f'up{{job="{JOB}-staging"}}')) == 3  # which no rule asks for


def test_the_label_of_the_pod_stands_over_what_the_service_says(watched: Watched) -> None:
    series = "model_service_requests_total"
    assert watched.tracks(f'{series}{{job="{JOB}"}}') == {
        **{"old": {"stable"}, "new": {"canary"}},
        "plain": {"stable"},  # without Argo Rollouts it is as the service says
    }
    # With honorLabels it would not, and without jobLabel no rule would find it.
    assert watched.tracks(f'{series}{{job="{NAMESPACE}/wrong"}}') == {
        **{"old": {"stable"}, "new": {"stable"}},
        "plain": {"stable"},
    }


def test_the_rules_tell_the_tracks_apart_until_the_canary_is_promoted(watched: Watched) -> None:
    def recorded() -> set[tuple[str, str]]:
        found = watched.server.ask("model_service:request_errors:ratio_rate5m")
        return {(each.labels["job"], each.labels["track"]) for each in found}

    # What KEDA asks is answered, too.
    (trigger,) = manifest(SCALING, "ScaledObject")["spec"]["triggers"]
    asked = trigger["metadata"]["query"]
    wait_for(lambda: len(watched.server.ask(asked)) == 1, "the requests of all pods are known")

    labels = [CANARY[f"{name}Metadata"]["labels"]["track"] for name in ("stable", "canary")]
    wait_for(lambda: recorded() == {(JOB, track) for track in labels}, "both are recorded")

    watched.show(new=labels[0])
    own = f'model_service_requests_total{{job="{JOB}"}}'
    wait_for(lambda: watched.tracks(own) == {"new": {"stable"}}, "it is scraped as stable")
