"""What must hold between the objects of a project, and between them, the service and its files.

Each check yields problems, so that a test can also break something and see it found.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import yaml
from pydantic import SecretStr, ValidationError

from delivery.cluster import Manifest, Manifests, find, pods
from ml_chassis import slo
from ml_chassis.monitoring import deployed, metrics
from ml_chassis.monitoring.files import RULES
from ml_chassis.retrainer.runners import CronJob, runner_of
from ml_chassis.settings import PREFIX, Settings
from ml_chassis.slo import SLO, Slo
from ml_chassis.training.config import RetrainingConfig
from ml_chassis.training.result import EXIT_CODES

DIGEST = re.compile(r"[\w./:-]+@sha256:[0-9a-f]{64}")
NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
SERIES = re.compile(r"\bmodel_service[\w:]*")
JOB = re.compile(r'job="([^"]*)"')
LONGEST = {"CronJob": 52}
"""Kubernetes adds to the names of these; 63 is the longest label and name of a host."""
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


class Facts(NamedTuple):
    """What the files of a project say.

    Attributes:
        slo: The objectives.
        rules: Those of Prometheus.
        hours: How long a retraining may take.
    """

    slo: Slo
    rules: Mapping[str, Any]
    hours: float


def facts(project: Path) -> Facts:
    """Read what the files of a project say."""
    rules = yaml.safe_load((project / RULES).read_text(encoding="utf-8"))
    training = tomllib.loads((project / "training.toml").read_text(encoding="utf-8"))
    limits = RetrainingConfig.model_validate(training.get("retraining", {}))
    return Facts(slo.read(project / SLO), rules, limits.maximum_hours)


def problems(manifests: Manifests, known: Facts) -> list[str]:
    """Return all that is wrong."""
    return [problem for check in CHECKS for problem in check(manifests, known)]


# ---- between the objects


def selectors(manifests: Manifests, _: Facts) -> Iterator[str]:
    """Each selects pods that there are, and each pod has a policy of the network."""
    covered = set()
    for each in manifests:
        if (selector := _selector(each)) is not None:
            found = [name for name, pod in pods(manifests) if _selects(selector, pod)]
            if not found:
                yield f"{title(each)} selects no pod"
            if each["kind"] == "NetworkPolicy":
                covered |= {*found}
    yield from (
        f"{name} has no NetworkPolicy" for name, _ in pods(manifests) if name not in covered
    )


def ports(manifests: Manifests, _: Facts) -> Iterator[str]:
    """Each port that is named is one of the pods, of the objects that use it."""
    for each in manifests:
        selector = _selector(each) or {}
        chosen = [pod for _, pod in pods(manifests) if _selects(selector, pod)]
        there = {name for pod in chosen for name in _ports(pod)}
        for name in {*_named_ports(each)} - there:
            yield f"{title(each)}: no pod has a port {name}"
    for called, pod in pods(manifests):
        used = {c[p]["httpGet"]["port"] for c in _containers(pod) for p in PROBES if p in c}
        yield from (f"{called}: there is no port {name}" for name in used - {*_ports(pod)})


def references(manifests: Manifests, _: Facts) -> Iterator[str]:
    """What an object names is there, in the same namespace."""
    there = {(each["kind"], each["metadata"]["name"]) for each in manifests}
    for each in manifests:
        for kind, name in _references(each):
            if (kind, name) not in there:
                yield f"{title(each)}: there is no {kind} {name}"


def namespaces(manifests: Manifests, _: Facts) -> Iterator[str]:
    """All is in one namespace, which refuses pods that are not restricted."""
    own = find(manifests, "Namespace")["metadata"]
    if own["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "the namespace does not enforce restricted pods"
    for each in manifests:
        if each["kind"] != "Namespace" and each["metadata"].get("namespace") != own["name"]:
            yield f"{title(each)} is in another namespace"
        if each["kind"] == "Rollout":
            routing = each["spec"]["strategy"]["canary"]["trafficRouting"]["plugins"]
            if routing["argoproj-labs/gatewayAPI"]["namespace"] != own["name"]:
                yield f"{title(each)}: its route is in another namespace"


def names(manifests: Manifests, _: Facts) -> Iterator[str]:
    """Names and labels are as short as Kubernetes wants them."""
    for each in manifests:
        name = each["metadata"]["name"]
        if len(name) > LONGEST.get(each["kind"], 63) or not NAME.fullmatch(name):
            yield f"{title(each)}: Kubernetes takes no such name"
    for called, pod in pods(manifests):
        long = [value for value in pod["metadata"]["labels"].values() if len(value) > 63]
        yield from (f"{called}: the label {value} is too long" for value in long)


# ---- the pods


def restricted(manifests: Manifests, _: Facts) -> Iterator[str]:
    """The pods are as https://kubernetes.io/docs/concepts/security/pod-security-standards/ says."""
    for called, pod in pods(manifests):
        spec = pod["spec"]
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(name):
                yield f"{called}: {name}"
        kinds = {kind for volume in spec.get("volumes", []) for kind in volume} - {"name"}
        if kinds - {"configMap", "emptyDir", "projected", "secret"}:
            yield f"{called}: volumes of {kinds}"
        for each in _containers(pod):
            security = {**spec.get("securityContext", {}), **each.get("securityContext", {})}
            if security.get("runAsNonRoot") is not True or security.get("runAsUser") == 0:
                yield f"{called}: may run as root"
            if security.get("seccompProfile", {}).get("type") not in {
                "RuntimeDefault",
                "Localhost",
            }:
                yield f"{called}: no seccompProfile"
            if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
                yield f"{called}: may get privileges"
            capabilities = security.get("capabilities", {})
            if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
                yield f"{called}: has capabilities"
            if security.get("readOnlyRootFilesystem") is not True:
                yield f"{called}: writes beside its volumes"
            if any("hostPort" in port for port in each.get("ports", [])):
                yield f"{called}: hostPort"


def images(manifests: Manifests, _: Facts) -> Iterator[str]:
    """What runs is named by its digest, which nobody can make something else."""
    for called, pod in pods(manifests):
        for each in _containers(pod):
            if not DIGEST.fullmatch(each["image"]):
                yield f"{called}: {each['image']} has no digest"


def tokens(manifests: Manifests, _: Facts) -> Iterator[str]:
    """A pod that asks nothing of Kubernetes has no token."""
    bound = {each["subjects"][0]["name"] for each in manifests if each["kind"] == "RoleBinding"}
    for called, pod in pods(manifests):
        account = pod["spec"].get("serviceAccountName", "default")
        if account not in bound and pod["spec"].get("automountServiceAccountToken") is not False:
            yield f"{called} has a token that it does not need"


def environment(manifests: Manifests, _: Facts) -> Iterator[str]:
    """Variables are settings that can be read, and secrets come from elsewhere."""
    if any(each["kind"] == "Secret" for each in manifests):
        yield "a Secret stands in the manifests"
    for called, pod in pods(manifests):
        for each in _containers(pod):
            given = {
                variable["name"].removeprefix(PREFIX).lower(): variable.get("value", "")
                for variable in each.get("env", [])
                if variable["name"].startswith(PREFIX)
            }
            for name in given.keys() - Settings.model_fields.keys():
                yield f"{called}: there is no setting {name}"
            for name, value in given.items():
                field = Settings.model_fields.get(name)
                if field and field.annotation is SecretStr and value:
                    yield f"{called}: {name} is a secret"
            try:
                Settings.model_validate(given)
            except ValidationError as error:
                yield f"{called}: {error}"


# ---- the files of the project


def budget(manifests: Manifests, known: Facts) -> Iterator[str]:
    """Resources, weights and replicas follow from slo.yaml."""
    yield from deployed.of_manifests(known.slo, manifests)
    for each in manifests:
        if each["kind"] == "ScaledObject":
            spec = each["spec"]
            if not 2 <= spec["minReplicaCount"] <= spec["maxReplicaCount"]:
                yield "one replica is not enough, or there are fewer at most than at least"
            threshold = float(spec["triggers"][0]["metadata"]["threshold"])
            if threshold != known.slo.objectives.throughput_per_worker / 2:
                yield f"{threshold:g} requests per second are not half of throughput_per_worker"


def rules(manifests: Manifests, known: Facts) -> Iterator[str]:
    """The operator has the rules that Prometheus has."""
    found = [each["spec"] for each in manifests if each["kind"] == "PrometheusRule"]
    if found not in ([], [known.rules]):
        yield "PrometheusRule: not those of monitoring/rules.yaml"


def series(manifests: Manifests, known: Facts) -> Iterator[str]:
    """What is asked of Prometheus is recorded or counted, of this service."""
    recorded = {
        rule["record"]
        for group in known.rules["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    counted = {f"{each.name}_total" for each in metrics.described()} | {
        each.name for each in metrics.described()
    }
    for called, query in _queries(manifests):
        for name in SERIES.findall(query):
            if name not in recorded | counted:
                yield f"{called}: there is no {name}"
        if JOB.findall(query) != [known.slo.job]:
            yield f"{called}: {query} is not about {known.slo.job} alone"


def monitored(manifests: Manifests, known: Facts) -> Iterator[str]:
    """Each pod that has metrics is scraped once, with its track, by a name that rules know or none.

    An environment without rules must not be counted by those of another one.
    """
    ruled = any(each["kind"] == "PrometheusRule" for each in manifests)
    monitor = find(manifests, "PodMonitor")["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    if monitor.get("podTargetLabels") != ["track"] or endpoint.get("honorLabels") is not False:
        yield "PodMonitor: the label track of the pod does not stand over that of the service"
    for called, pod in pods(manifests):
        if endpoint["port"] in _ports(pod):
            if not _selects(monitor["selector"], pod):
                yield f"{called} is not scraped"
            job = pod["metadata"]["labels"].get(monitor["jobLabel"])
            for each in endpoint.get("relabelings", []):
                job = each["replacement"] if each["targetLabel"] == "job" else job
            if (job == known.slo.job) != ruled:
                yield f"{called} is scraped as {job}, and rules are there: {ruled}"


def release(manifests: Manifests, _: Facts) -> Iterator[str]:
    """A canary gets more and more of the requests, is judged each time, and says what it is."""
    for each in manifests:
        if each["kind"] == "HTTPRoute" and any(other["kind"] == "Rollout" for other in manifests):
            (rule,) = each["spec"]["rules"]
            weights = [backend["weight"] for backend in rule["backendRefs"]]
            if weights != [100, 0]:
                yield f"{title(each)}: before a release, {weights} go to stable and canary"
        if each["kind"] == "Rollout":
            yield from _steps(each["spec"]["strategy"]["canary"])
            (verdict,) = find(manifests, "AnalysisTemplate")["spec"]["metrics"]
            # Argo Rollouts refuses a step whose analysis has no end.
            looks = verdict["inconclusiveLimit"] + verdict["consecutiveSuccessLimit"]
            if verdict.get("count", 0) < looks:
                yield f"{title(each)} may end before the {looks} looks of a step"
            deployment = find(manifests, "Deployment", each["spec"]["workloadRef"]["name"])
            if deployment["spec"]["replicas"] != 0:
                yield f"{title(deployment)} runs pods beside those of the Rollout"
            if each["spec"]["selector"] != deployment["spec"]["selector"]:
                yield f"{title(each)} selects other pods than {title(deployment)}"


def _steps(canary: Manifest) -> Iterator[str]:
    steps = canary["steps"]
    weights = [each["setWeight"] for each in steps if "setWeight" in each]
    if weights != sorted({*weights}) or not 0 < weights[0] <= weights[-1] < 100:
        yield f"the weights {weights} do not rise from above 0 to below 100"
    if [*map(sorted, steps)] != [["setWeight"], ["analysis"]] * len(weights):
        yield "not each weight is judged"
    tracks = {*get_args(Settings.model_fields["track"].annotation)}
    labels = [canary[f"{name}Metadata"]["labels"]["track"] for name in ("stable", "canary")]
    if labels != ["stable", "canary"] or not {*labels} <= tracks:
        yield f"the tracks are called {labels}"


def retraining(manifests: Manifests, known: Facts) -> Iterator[str]:
    """The retrainer asks for the CronJob that there is, and may do that and nothing else."""
    for each in manifests:
        if each["kind"] == "CronJob":
            spec, called = each["spec"]["jobTemplate"]["spec"], each["metadata"]["name"]
            if spec["activeDeadlineSeconds"] != 3_600 * known.hours:
                yield f"{title(each)} may take another time than maximum_hours in training.toml"
            retrainer = find(manifests, "Deployment", called.replace("retraining", "retrainer"))
            variables = _containers(retrainer["spec"]["template"])[0]["env"]
            (url,) = (v["value"] for v in variables if v["name"] == f"{PREFIX}RETRAIN_URL")
            runner = runner_of(url.replace("$(NAMESPACE)", each["metadata"]["namespace"]), 1)
            if not (isinstance(runner, CronJob) and url.endswith(f"/cronjobs/{called}")):
                yield f"the retrainer asks for {url}"
            (refused, _) = spec["podFailurePolicy"]["rules"]
            if refused["onExitCodes"]["values"] != [EXIT_CODES["refused"]]:
                yield f"{title(each)} repeats what was refused"
            (pod,) = (pod for name, pod in pods(manifests) if name == title(each))
            if {"python", "-m", "ml_chassis", "retrain"} != {*_containers(pod)[0]["args"]}:
                yield f"{title(each)} does not retrain"


CHECKS: list[Callable[[Manifests, Facts], Iterator[str]]] = [
    *(selectors, ports, references, namespaces, names),
    *(restricted, images, tokens, environment),
    *(budget, rules, series, monitored, release, retraining),
]


# ---- what they look at


def title(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def _ports(pod: Manifest) -> Iterator[str]:
    for each in _containers(pod):
        yield from (port["name"] for port in each.get("ports", []))


def _selector(manifest: Manifest) -> Manifest | None:
    """Return by which labels an object chooses pods, as `matchLabels` and `matchExpressions`."""
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Service":
        return {"matchLabels": spec["selector"]}
    found: Manifest | None = spec.get("podSelector") or spec.get("selector")
    return found


def _selects(selector: Manifest, pod: Manifest) -> bool:
    labels = pod["metadata"]["labels"]
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        each["operator"] == "In" and labels.get(each["key"]) in each["values"]
        for each in selector.get("matchExpressions", [])
    )


def _named_ports(manifest: Manifest) -> Iterator[str]:
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Service":
        yield from (port["targetPort"] for port in spec["ports"])
    if manifest["kind"] == "PodMonitor":
        yield from (each["port"] for each in spec["podMetricsEndpoints"])
    if manifest["kind"] == "NetworkPolicy":
        for each in spec["ingress"]:
            yield from (port["port"] for port in each["ports"])


def _references(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield the kinds and names of the objects that one names."""
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "Deployment" if "serviceAccountName" in spec["template"]["spec"]:
            yield "ServiceAccount", spec["template"]["spec"]["serviceAccountName"]
        case "RoleBinding":
            yield manifest["roleRef"]["kind"], manifest["roleRef"]["name"]
            yield from ((each["kind"], each["name"]) for each in manifest["subjects"])
        case "Role":
            for rule in manifest["rules"]:
                yield from (("CronJob", name) for name in rule.get("resourceNames", []))
        case "ScaledObject":
            yield spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]
        case "HTTPRoute":
            for rule in spec["rules"]:
                yield from (("Service", each["name"]) for each in rule["backendRefs"])
        case "Rollout":
            canary = spec["strategy"]["canary"]
            yield spec["workloadRef"]["kind"], spec["workloadRef"]["name"]
            yield "Service", canary["stableService"]
            yield "Service", canary["canaryService"]
            yield (
                "HTTPRoute",
                canary["trafficRouting"]["plugins"]["argoproj-labs/gatewayAPI"]["httpRoute"],
            )
            for step in canary["steps"]:
                for each in step.get("analysis", {}).get("templates", []):
                    yield "AnalysisTemplate", each["templateName"]


def _queries(manifests: Manifests) -> Iterator[tuple[str, str]]:
    """Yield what is asked of Prometheus, and by which object."""
    for each in manifests:
        if each["kind"] == "AnalysisTemplate":
            for metric in each["spec"]["metrics"]:
                yield title(each), metric["provider"]["prometheus"]["query"]
        if each["kind"] == "ScaledObject":
            for trigger in each["spec"]["triggers"]:
                yield title(each), trigger["metadata"]["query"]
