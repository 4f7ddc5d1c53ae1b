"""The retrainer makes a Job of the CronJob in the manifests, with the rights that they give it."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chassis.retrainer.interface import TOKEN, Interface, running_interface
from delivery import cluster
from delivery.cluster import Manifest, Manifests, find, invalid, pods, with_retraining
from ml_chassis.retrainer import runners

Render = Callable[..., Path]
Right = tuple[str, str, str]
VERBS = {"GET": "get", "POST": "create"}
LONGEST = "f" * 40


@pytest.fixture
def interface(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Interface]:
    """Run a Kubernetes that notes what it is asked by a pod with a service account."""
    with running_interface(tmp_path) as server:
        (tmp_path / "token").write_text(TOKEN)
        monkeypatch.setattr(runners, "SERVICE_ACCOUNT", tmp_path)
        yield server


@pytest.fixture
def manifests(render: Render, tmp_path: Path) -> Manifests:
    """Return a staging that retrains, with the longest name that a project may have."""
    project = render("cookiecutter", project_slug=LONGEST)
    return cluster.render(with_retraining(project, tmp_path / "staging"), "staging")


def rights(role: Manifest) -> Iterator[Right]:
    """Yield each verb, resource and name that a role grants; "" is every name."""
    for rule in role["rules"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                for name in rule.get("resourceNames", [""]):
                    yield verb, resource, name


def test_it_makes_the_job_and_may_do_nothing_else(
    manifests: Manifests, interface: Interface
) -> None:
    cron_job = find(manifests, "CronJob")
    pod = dict(pods(manifests))[f"Deployment {LONGEST}-retrainer"]["spec"]
    variables = {each["name"]: each.get("value", "") for each in pod["containers"][0]["env"]}
    namespace = cron_job["metadata"]["namespace"]
    url = variables["MODEL_SERVICE_RETRAIN_URL"].replace("$(NAMESPACE)", namespace)
    path = url.removeprefix("https://kubernetes.default.svc")
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    cron_job["metadata"]["uid"] = "1-2-3"
    interface.answers = {f"GET {path}": (200, cron_job), f"POST {jobs}": (201, {})}

    end = asyncio.run(runners.runner_of(interface.url + path, 4).run("alert Drift"))

    assert end.outcome == "asked"
    job = interface.asked[-1].body
    assert invalid([job]) == [[]]
    assert len(job["metadata"]["name"]) <= 63
    asked_for = cron_job["spec"]["jobTemplate"]["spec"]
    assert {key: job["spec"][key] for key in asked_for if key != "template"} == {
        key: value for key, value in asked_for.items() if key != "template"
    }
    needed = set()
    for asked in interface.asked:
        resource, _, name = asked.path.removeprefix(jobs.removesuffix("jobs")).partition("/")
        needed.add((VERBS[asked.method], resource, name))
    assert {*rights(find(manifests, "Role"))} == needed
    bound = find(manifests, "RoleBinding")
    assert bound["subjects"][0] == {
        **{"kind": "ServiceAccount", "name": pod["serviceAccountName"]},
        "namespace": namespace,
    }
