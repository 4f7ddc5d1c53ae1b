"""The objects of Kubernetes that a project asks for, as kustomize renders them."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from kubernetes_validate import SchemaNotFoundError, ValidationError, validate

from delivery.tools import kubectl, node, schemas

Manifest = dict[str, Any]
Manifests = Sequence[Manifest]

FOLDER = Path("deploy/kubernetes")
OVERLAYS = ("staging", "production")
VERSION = "1.37"
COMMENTED = "# components:\n#   - ../../components/retraining\n"
BOUND = {"Deployment": ("template",), "CronJob": ("jobTemplate", "spec", "template")}
"""Where the pods of each kind are, below `spec`."""


def render(project: Path, overlay: str) -> Manifests:
    """Return the objects of an overlay."""
    command = (kubectl(), "kustomize", project / FOLDER / "overlays" / overlay)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def with_retraining(project: Path, folder: Path) -> Path:
    """Return a copy of a project's manifests in which each overlay retrains, too."""
    shutil.copytree(project / FOLDER, folder / FOLDER)
    for overlay in OVERLAYS:
        path = folder / FOLDER / "overlays" / overlay / "kustomization.yaml"
        text = path.read_text(encoding="utf-8")
        assert COMMENTED in text
        path.write_text(text.replace(COMMENTED, COMMENTED.replace("# ", "")))
    return folder


def find(manifests: Manifests, kind: str, name: str = "") -> Manifest:
    """Return the one object of a kind, and of a name where one is given."""
    (found,) = (
        each
        for each in manifests
        if each["kind"] == kind and name in {"", each["metadata"]["name"]}
    )
    return found


def pods(manifests: Manifests) -> Iterator[tuple[str, Manifest]]:
    """Yield the template of the pods of each object that has one, and what it is called."""
    for each in manifests:
        if each["kind"] in BOUND:
            found = each["spec"]
            for key in BOUND[each["kind"]]:
                found = found[key]
            yield f"{each['kind']} {each['metadata']['name']}", found


def invalid(manifests: Manifests) -> list[list[str]]:
    """Return what the schemas say against each object."""
    found: list[list[str]] = [[] for _ in manifests]
    custom = []
    for index, each in enumerate(manifests):
        try:
            validate(each, VERSION, strict=True)
        except SchemaNotFoundError:
            custom.append(index)
        except ValidationError as error:
            found[index] = [error.message]
    told = json.dumps([manifests[index] for index in custom])
    command = (node(), "check.mjs")
    done = subprocess.run(
        command, cwd=schemas(), input=told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for index, problems in zip(custom, json.loads(done.stdout), strict=True):
        found[index] = problems
    return found
