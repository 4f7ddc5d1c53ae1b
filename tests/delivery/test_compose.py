"""The file of Compose, and what `make up` writes for its containers, fit each other.

What can be started here is in tests/project/test_compose.py; Grafana's image is not to be had.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ml_chassis.delivery.compose import host
from ml_chassis.delivery.compose.containers import FOLDER
from prometheus import promtool

Render = Callable[..., Path]

VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")


@pytest.fixture(scope="module")
def project(render: Render) -> Path:
    return render("cookiecutter")


@pytest.fixture(scope="module")
def services(project: Path) -> dict[str, Any]:
    """Return what the file says, with the defaults of its variables."""
    text = (project / "deploy/compose.yaml").read_text()
    found: dict[str, Any] = yaml.safe_load(VARIABLE.sub(r"\1", text))["services"]
    return found


@pytest.fixture(scope="module")
def written(services: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of what `make up` writes."""
    with contextlib.chdir(tmp_path_factory.mktemp("host")):
        host.write("flights", services)
        yield FOLDER.absolute()


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Return what of the project stands where in a container."""
    return {
        target: str(Path("deploy", source).resolve().relative_to(Path.cwd()))
        for source, target, *_ in (
            each.split(":") if isinstance(each, str) else (each["source"], each["target"])
            for each in service["volumes"]
        )
        if source.startswith(".")
    }


def test_grafana_finds_prometheus_and_the_dashboards(
    services: dict[str, Any], written: Path
) -> None:
    found = mounts(services["grafana"])
    assert found["/etc/grafana/provisioning"] == str(FOLDER / "grafana")
    (source,) = read(written / "grafana/datasources/service.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "9090" in services["prometheus"]["ports"][0].rpartition(":")[2]
    (provider,) = read(written / "grafana/dashboards/service.yaml")["providers"]
    assert found[provider["options"]["path"]] == "monitoring/dashboards"


def test_prometheus_finds_its_rules_targets_and_alertmanager(
    project: Path, services: dict[str, Any], written: Path, tmp_path: Path
) -> None:
    found = mounts(services["prometheus"])
    assert found == {"/etc/gateway": str(FOLDER), "/etc/monitoring": "monitoring"}
    text = (written / "prometheus.yaml").read_text()
    path = tmp_path / "prometheus.yaml"
    path.write_text(
        text.replace("/etc/gateway", str(written)).replace(
            "/etc/monitoring", str(project / "monitoring")
        )
    )
    promtool("check", "config", path)
    (told,) = yaml.safe_load(text)["alerting"]["alertmanagers"]
    (name, port) = told["static_configs"][0]["targets"][0].split(":")
    assert services[name]["ports"][0].endswith(f":{port}")
    assert "--config.file=/etc/monitoring/alertmanager.yaml" in services[name]["command"]


def test_without_alertmanager_nobody_is_told(
    services: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    host.write("flights", {name: services[name] for name in services if name != "alertmanager"})
    assert "alerting" not in read(FOLDER / "prometheus.yaml")


def test_each_image_of_others_has_a_version(services: dict[str, Any]) -> None:
    for name in ("gateway", "prometheus", "alertmanager", "grafana"):
        assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", services[name]["image"]), name


def test_the_canary_is_as_stable_is(services: dict[str, Any]) -> None:
    canary = services["canary"]
    assert canary.keys() == {"extends", "profiles", "image", "environment", "restart"}
    assert canary["extends"] == {"service": "service"}
    assert canary["environment"] == {"MODEL_SERVICE_TRACK": "canary"}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found
