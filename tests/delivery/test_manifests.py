"""The manifests of Kubernetes are valid, and fit each other, the service and its files."""

import copy
import math
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from delivery import cluster, wiring
from delivery.cluster import FOLDER, OVERLAYS, Manifest, Manifests, find, invalid, with_retraining
from delivery.tools import kubectl
from delivery.wiring import Facts
from ml_chassis.delivery.progress import Pace
from ml_chassis.slo import Slo

Render = Callable[..., Path]

NAMES: dict[str, tuple[str, dict[str, str]]] = {
    "default": ("cookiecutter", {}),
    "1 character": ("copier", {"project_name": "x"}),
    "60 characters": (
        "cookiecutter",
        {"project_name": "Flights " * 7 + "late", "project_slug": "f" * 40},
    ),
}
FREE = (
    *("labels", "annotations", "matchLabels", "Service.spec.selector"),
    *("plugins", "gatewayAPI", "triggers.0.metadata", "resources.limits", "resources.requests"),
)
"""Maps whose keys are not those of a schema."""
SPOILED: list[tuple[str, str, Any]] = [
    ("Deployment", "replicas", "two"),
    ("Service", "ports.0.port", "http"),
    ("PodDisruptionBudget", "unhealthyPodEvictionPolicy", 1),
    ("NetworkPolicy", "policyTypes", "Ingress"),
    ("CronJob", "jobTemplate.spec.backoffLimit", "two"),
    ("Rollout", "strategy.canary.steps.0.setWeight", "5 %"),
    ("AnalysisTemplate", "metrics.0.successCondition", 1),
    ("HTTPRoute", "rules.0.backendRefs.0.weight", -1),
    ("HTTPRoute", "rules.0.backendRefs.0.port", 70_000),
    ("ScaledObject", "maxReplicaCount", "ten"),
    ("PodMonitor", "podMetricsEndpoints.0.interval", "15 s"),
    ("PrometheusRule", "groups.0.interval", "often"),
]
"""A value of another type, or out of the range that the schema knows."""


class Rendered(NamedTuple):
    """The objects of an overlay, and what the files of their project say."""

    manifests: Manifests
    known: Facts


CONSECUTIVE_ERRORS = 5
"""That Argo Rollouts takes for a failure, more than its default `consecutiveErrorLimit` of 4."""


@pytest.fixture(scope="module")
def rendered(render: Render, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rendered]:
    """Return each overlay of projects of these names, without and with retraining."""
    found = {}
    for name, (engine, answers) in NAMES.items():
        project = render(engine, **answers)
        more = with_retraining(project, tmp_path_factory.mktemp("retraining"))
        for overlay in OVERLAYS:
            for folder, suffix in ((project, ""), (more, " with retraining")):
                manifests = cluster.render(folder, overlay)
                found[f"{name}: {overlay}{suffix}"] = Rendered(manifests, wiring.facts(project))
    return found


@pytest.fixture
def whole(rendered: dict[str, Rendered]) -> Rendered:
    """Return a production with retraining, which has all kinds, to be broken."""
    return copy.deepcopy(rendered["default: production with retraining"])


# ---- schemas


def test_the_schemas_accept_all_objects(rendered: dict[str, Rendered], whole: Rendered) -> None:
    manifests = {
        f"{name}: {wiring.title(each)}": short(each)
        for name, (found, _) in rendered.items()
        for each in found
        if "retraining" in name  # which has the others, too
    }
    manifests["all rules"] = find(whole.manifests, "PrometheusRule")
    problems = dict(zip(manifests, invalid([*manifests.values()]), strict=True))
    assert {name: each for name, each in problems.items() if each} == {}


def test_a_misspelt_field_and_a_wrong_value_are_found_in_each_kind(whole: Rendered) -> None:
    kinds = {each["kind"]: short(each) for each in reversed(whole.manifests)}
    assert {*kinds} - {kind for kind, *_ in SPOILED} == {
        *("Namespace", "ServiceAccount", "Role", "RoleBinding")  # they hold text alone
    }
    spoiled = dict(each for manifest in kinds.values() for each in misspelt(manifest))
    assert len(spoiled) > 200
    for kind, place, value in SPOILED:
        spoiled[f"{kind}: {place} = {value}"] = copy.deepcopy(kinds[kind])
        put(spoiled[f"{kind}: {place} = {value}"], f"spec.{place}", value)

    problems = dict(zip(spoiled, invalid([*spoiled.values()]), strict=True))
    assert [place for place, found in problems.items() if not found] == []


def misspelt(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """Yield the place of each field, and the object in which that one is misspelt."""
    for path in fields(manifest):
        above = ".".join([manifest["kind"], *map(str, path[:-1])])
        if not above.endswith(FREE):
            spoiled = copy.deepcopy(manifest)
            holder = spoiled
            for key in path[:-1]:
                holder = holder[key]
            holder[f"{path[-1]}s"] = holder.pop(path[-1])
            yield f"{above}.{path[-1]}", spoiled


def fields(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each field; of lists that of the first element alone."""
    if isinstance(value, dict):
        for key, below in value.items():
            if key not in {"apiVersion", "kind"}:
                yield (*path, key)
            yield from fields(below, (*path, key))
    elif isinstance(value, list) and value:
        yield from fields(value[0], (*path, 0))


def short(manifest: Manifest) -> Manifest:
    """Return an object without what only repeats: one rule that records, and one that alerts."""
    if manifest["kind"] != "PrometheusRule":
        return manifest
    one, *_, other = ({**each, "rules": each["rules"][:1]} for each in manifest["spec"]["groups"])
    return {**manifest, "spec": {"groups": [{**one, "interval": "1m"}, other]}}


def put(manifest: Manifest, place: str, value: Any) -> None:
    """Write a value at a place, such as `spec.ports.0.port`; "" takes away what is there."""
    *path, last = (int(key) if key.isdecimal() else key for key in place.split("."))
    holder: Any = manifest
    for key in path:
        holder = holder[key]
    if value == "":
        del holder[last]
    else:
        holder[last] = value


# ---- how they fit


def test_all_parts_fit(rendered: dict[str, Rendered]) -> None:
    found = {name: wiring.problems(*each) for name, each in rendered.items()}
    assert {name: problems for name, problems in found.items() if problems} == {}


CONTAINER = "spec.template.spec.containers.0"
CANARY = "spec.strategy.canary"
BROKEN: list[tuple[str, str, Any, str]] = [
    ("Service", "spec.selector", {"app": "x"}, "selects no pod"),
    ("PodDisruptionBudget", "spec.selector.matchLabels", {"app": "x"}, "selects no pod"),
    ("NetworkPolicy", "spec.podSelector.matchLabels", {"app": "x"}, "has no NetworkPolicy"),
    ("NetworkPolicy", "spec.ingress.1.ports.0.port", "metric", "no pod has a port metric"),
    ("Service", "spec.ports.0.targetPort", "web", "no pod has a port web"),
    ("Deployment", f"{CONTAINER}.livenessProbe.httpGet.port", "web", "there is no port web"),
    ("PodMonitor", "spec.podMetricsEndpoints.0.port", "web", "no pod has a port web"),
    ("HTTPRoute", "spec.rules.0.backendRefs.1.name", "x", "there is no Service x"),
    ("HTTPRoute", "spec.rules.0.backendRefs.1.weight", 150, "[100, 150] go to stable and canary"),
    ("Rollout", f"{CANARY}.canaryService", "x", "there is no Service x"),
    ("Rollout", f"{CANARY}.steps.2.setWeight", 150, "do not rise"),
    ("Rollout", f"{CANARY}.steps.0.setWeight", 2, "setWeight is [2, 10, 25, 50], and by slo.yaml"),
    ("Rollout", f"{CANARY}.steps.1", {"pause": {}}, "not each weight is judged"),
    ("Rollout", f"{CANARY}.canaryMetadata.labels.track", "new", "the tracks are called"),
    ("Rollout", "spec.workloadRef.name", "flight-delays-retrainer", "runs pods beside"),
    ("Rollout", "spec.selector.matchLabels", {"app": "x"}, "selects no pod"),
    ("AnalysisTemplate", "spec.metrics.0.count", 30, "may end before the 35 looks"),
    (
        *("CronJob", "spec.jobTemplate.spec.podFailurePolicy.rules.0.onExitCodes.values"),
        *([1], "repeats what was refused"),
    ),
    ("AnalysisTemplate", "metadata.name", "x", "there is no AnalysisTemplate flight-delays"),
    (
        *("AnalysisTemplate", "spec.metrics.0.provider.prometheus.query"),
        *("model_service:verdict", "there is no model_service:verdict"),
    ),
    ("ScaledObject", "spec.scaleTargetRef.name", "x", "there is no Rollout x"),
    ("ScaledObject", "spec.minReplicaCount", 1, "one replica is not enough"),
    (
        "ScaledObject",
        "spec.triggers.0.metadata.threshold",
        "300",
        "300 requests per second are not",
    ),
    (
        "ScaledObject",
        "spec.triggers.0.metadata.query",
        'model_service_requests_total{job="x"}',
        "is not about flight-delays",
    ),
    ("PodMonitor", "spec.podTargetLabels", [], "does not stand over"),
    ("PodMonitor", "spec.jobLabel", "team", "is scraped as"),
    ("PrometheusRule", "kind", "ServiceAccount", "is scraped as flight-delays"),
    ("PrometheusRule", "spec.groups", [], "not those of monitoring/rules.yaml"),
    ("Namespace", "metadata.labels", {}, "does not enforce restricted"),
    ("Service", "metadata.namespace", "default", "is in another namespace"),
    ("PodMonitor", "metadata.name", "x" * 64, "Kubernetes takes no such name"),
    ("CronJob", "spec.jobTemplate.spec.activeDeadlineSeconds", 60, "may take another time"),
    ("Role", "rules.0.resourceNames", ["x"], "there is no CronJob x"),
    ("RoleBinding", "subjects.0.name", "x", "there is no ServiceAccount x"),
    (
        "Deployment",
        f"{CONTAINER}.resources.requests.cpu",
        "100m",
        "cpu is 100m, and by slo.yaml 500m",
    ),
    ("Deployment", f"{CONTAINER}.image", "flights:latest", "has no digest"),
    (
        "Deployment",
        f"{CONTAINER}.securityContext.allowPrivilegeEscalation",
        "",
        "may get privileges",
    ),
    ("Deployment", f"{CONTAINER}.securityContext.capabilities", "", "has capabilities"),
    ("Deployment", "spec.template.spec.securityContext.runAsNonRoot", "", "may run as root"),
    ("Deployment", "spec.template.spec.securityContext.seccompProfile", "", "no seccompProfile"),
    ("Deployment", f"{CONTAINER}.securityContext.readOnlyRootFilesystem", "", "writes beside"),
    ("Deployment", "spec.template.spec.hostNetwork", True, "hostNetwork"),
    ("Deployment", "spec.template.spec.volumes.0", {"name": "tmp", "hostPath": {}}, "hostPath"),
    ("Deployment", "spec.template.spec.automountServiceAccountToken", "", "has a token"),
    ("Deployment", f"{CONTAINER}.env.0.name", "MODEL_SERVICE_DRAIN", "there is no setting drain"),
    ("Deployment", f"{CONTAINER}.env.0.value", "long", "drain_seconds"),
    (
        *("Deployment", f"{CONTAINER}.env.0"),
        *({"name": "MODEL_SERVICE_API_KEYS", "value": "k" * 20}, "api_keys is a secret"),
    ),
    ("ServiceAccount", "kind", "Secret", "a Secret stands in the manifests"),
]
"""The first object of a kind, the place in it, the value that is put there, and what is said."""


@pytest.mark.parametrize(
    ("kind", "place", "value", "said"),
    BROKEN,
    ids=[f"{kind} {place}" for kind, place, *_ in BROKEN],
)
def test_what_does_not_fit_is_found(
    whole: Rendered, kind: str, place: str, value: Any, said: str
) -> None:
    put(next(each for each in whole.manifests if each["kind"] == kind), place, value)
    assert said in "\n".join(wiring.problems(*whole))


@pytest.mark.parametrize(
    ("verdicts", "phase"),
    [
        *(([1.0], "Successful"), ([-1.0], "Failed")),
        *(([0.0], "Inconclusive"), ([math.nan], "Inconclusive"), ([], "Inconclusive")),
    ],
)
def test_what_is_not_known_of_a_canary_neither_passes_nor_fails(
    whole: Rendered, verdicts: list[float], phase: str
) -> None:
    """As https://argo-rollouts.readthedocs.io/en/stable/features/analysis/#inconclusive-runs."""
    (metric,) = find(whole.manifests, "AnalysisTemplate")["spec"]["metrics"]
    passed, failed = (
        eval(metric[f"{name}Condition"].replace("&&", "and"), {"result": verdicts})  # noqa: S307
        for name in ("success", "failure")
    )
    assert phase == ("Failed" if failed else "Successful" if passed else "Inconclusive")
    assert metric["failureLimit"] == 0
    assert metric["inconclusiveLimit"] > 0


def test_one_host_releases_as_argo_rollouts_does(whole: Rendered) -> None:
    canary = find(whole.manifests, "Rollout")["spec"]["strategy"]["canary"]
    weights = [each["setWeight"] for each in canary["steps"] if "setWeight" in each]
    assert weights == Slo.model_fields["release"].default.weights
    (metric,) = find(whole.manifests, "AnalysisTemplate")["spec"]["metrics"]
    assert (metric["initialDelay"], metric["interval"]) == ("2m", "1m")
    pace = Pace()
    assert (pace.delay, pace.interval) == (120, 60)
    looks = (metric["consecutiveSuccessLimit"], metric["inconclusiveLimit"])
    assert looks == (pace.good, pace.unknown)
    assert metric["failureLimit"] == 0
    assert pace.silent == CONSECUTIVE_ERRORS


def test_kustomizations_leave_no_file_out(render: Render) -> None:
    folder = render("cookiecutter") / FOLDER
    kustomizations = {*folder.rglob("kustomization.yaml")}
    named = {
        (path.parent / each).resolve()
        for path in kustomizations
        for each in yaml.safe_load(path.read_text())["resources"]
    }
    assert {path.resolve() for path in {*folder.rglob("*.*")} - kustomizations} <= named


def test_the_pods_are_those_of_the_image(render: Render, whole: Rendered) -> None:
    dockerfile = (render("cookiecutter") / "deploy" / "Dockerfile").read_text()
    service = find(whole.manifests, "Deployment", whole.known.slo.job)["spec"]["template"]["spec"]
    user = dockerfile.rpartition("\nUSER ")[2].split()[0]
    given = service["securityContext"]
    assert f"{given['runAsUser']}:{given['runAsGroup']}" == user
    (container,) = service["containers"]
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert ports == {
        "http": dockerfile.partition("\nEXPOSE ")[2].split()[0],
        "metrics": variables["MODEL_SERVICE_METRICS_PORT"],
    }


# ---- what the page on deployment says


def test_without_argo_rollouts_the_rest_fits(render: Render, tmp_path: Path) -> None:
    project = with_retraining(render("cookiecutter"), tmp_path / "whole")
    overlay = project / FOLDER / "overlays" / "production"
    kustomization, scaling = overlay / "kustomization.yaml", overlay / "scaling.yaml"
    route = overlay / "route.yaml"
    route.write_text(re.sub(r' +- name: "\S+-canary"\n.*\n.*\n', "", route.read_text()))
    text = kustomization.read_text().replace("  - rollout.yaml\n", "")
    kustomization.write_text(text.replace("op: replace", "op: remove").replace("value: 0", ""))
    text = scaling.read_text().replace("argoproj.io/v1alpha1", "apps/v1")
    scaling.write_text(text.replace("kind: Rollout", "kind: Deployment"))

    manifests = cluster.render(project, "production")
    assert {"Rollout", "AnalysisTemplate"} & {each["kind"] for each in manifests} == set()
    known = wiring.facts(render("cookiecutter"))
    assert wiring.problems(manifests, known) == []
    assert "replicas" not in find(manifests, "Deployment", known.slo.job)["spec"]


def test_the_commands_of_the_page_work(render: Render, whole: Rendered) -> None:
    project = render("cookiecutter")
    page = (project / "docs" / "deployment.md").read_text()
    page = page.partition("## Kubernetes")[2].partition("\n## ")[0]
    shown, in_cluster = (
        re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("sh", "text")
    )
    path = f"{kubectl().parent}:{os.environ['PATH']}"
    for line in shown[0].splitlines():
        assert "kind: Deployment" in sh(line, project, path)

    # What needs a cluster is held to the objects; the Secret can be made without sending it.
    space, secret, _, status, watch = in_cluster[0].splitlines()
    empty, made = (
        yaml.safe_load(sh(f"{command} --dry-run=client --output yaml", project, path))
        for command in (space, secret)
    )
    assert empty["metadata"]["name"] == made["metadata"]["namespace"]
    name = whole.known.slo.job
    pod = find(whole.manifests, "Deployment", name)["spec"]["template"]["spec"]
    assert made["metadata"]["name"] == pod["containers"][0]["envFrom"][0]["secretRef"]["name"]
    assert f"{name}-staging " in status
    assert status.endswith(f"deployment {name}")
    assert f"--namespace {find(whole.manifests, 'Namespace')['metadata']['name']} " in watch
    assert f"rollout {find(whole.manifests, 'Rollout')['metadata']['name']} " in watch


def sh(line: str, folder: Path, path: str) -> str:
    """Return what a command says that must succeed."""
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
