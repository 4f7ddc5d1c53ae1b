"""The Kubernetes manifests are valid, and their parts refer to each other and to the service."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from project.combinations import DEFAULT
from project.conftest import Generate
from project.tools import run_tool

Manifest = dict[str, Any]
FOLDER = Path("deploy/kubernetes")


@pytest.fixture(scope="module")
def project(generate: Generate) -> Path:
    """Return a project for Kubernetes; do not change it."""
    return generate(DEFAULT)


@pytest.fixture(scope="module")
def manifests(project: Path) -> dict[str, Manifest]:
    """Return the manifests that the kustomization names, by their kind."""
    kustomization = yaml.safe_load((project / FOLDER / "kustomization.yaml").read_text())
    files = [project / FOLDER / name for name in kustomization["resources"]]
    documents = [each for file in files for each in yaml.safe_load_all(file.read_text())]
    return {document["kind"]: document for document in documents}


def container(manifests: dict[str, Manifest]) -> Manifest:
    found: Manifest = manifests["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    return found


def test_the_kustomization_leaves_no_file_out(project: Path) -> None:
    named = yaml.safe_load((project / FOLDER / "kustomization.yaml").read_text())["resources"]
    files = {path.name for path in (project / FOLDER).iterdir()} - {"kustomization.yaml"}
    assert files == set(named)


def test_the_schemas_of_kubernetes_accept_them(project: Path) -> None:
    files = [str(FOLDER / name) for name in ("deployment.yaml", "service.yaml")]
    found = run_tool(project, "kubernetes-validate", "--strict", *files)
    assert found.returncode == 0, found.stdout


def test_a_misspelt_field_is_refused(generate: Generate) -> None:
    project = generate(DEFAULT)
    deployment = project / FOLDER / "deployment.yaml"
    deployment.write_text(deployment.read_text().replace("readinessProbe:", "readynessProbe:"))
    found = run_tool(project, "kubernetes-validate", "--strict", str(FOLDER / "deployment.yaml"))
    assert found.returncode != 0
    assert "readynessProbe" in found.stdout


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
def test_the_selector_finds_the_pods(manifests: dict[str, Manifest], kind: str) -> None:
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selector = manifests[kind]["spec"]["selector"]
    assert (selector.get("matchLabels") or selector).items() <= labels.items()


def test_requests_and_probes_reach_the_port_of_the_image(
    project: Path, manifests: dict[str, Manifest]
) -> None:
    ports = {port["name"]: port["containerPort"] for port in container(manifests)["ports"]}
    used = [port["targetPort"] for port in manifests["Service"]["spec"]["ports"]]
    used += [
        container(manifests)[probe]["httpGet"]["port"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    ]
    exposed = (project / "deploy" / "Dockerfile").read_text().partition("\nEXPOSE ")[2].split()[0]
    assert {str(ports[name]) for name in used} == {exposed}


def test_the_pods_run_as_the_user_of_the_image(
    project: Path, manifests: dict[str, Manifest]
) -> None:
    pod = manifests["Deployment"]["spec"]["template"]["spec"]["securityContext"]
    user = (project / "deploy" / "Dockerfile").read_text().rpartition("\nUSER ")[2].split()[0]
    assert f"{pod['runAsUser']}:{pod['runAsGroup']}" == user
