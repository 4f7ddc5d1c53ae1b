"""All that serves and watches on one host, in containers: `make up`, `make down`."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ... import settings, slo, storage
from ...errors import UserError
from ...monitoring.files import DASHBOARDS, RULES
from ...observe.servers import prometheus, target
from ...programs import LOCAL, answers, only_one
from ...project import Project
from ...settings import CANARY, SHADOW, STABLE, Settings
from .. import envoy, gateway, progress, record
from ..command import LOCK
from ..gateway import ENVOY, Addresses, Gateway
from .containers import FOLDER, PORT, Containers, watch
from .docker import COMPOSE, SERVICES, Compose, Container

MOUNTED = Path("/etc/gateway")
"""Where the containers find that folder."""
RULES_MOUNTED = Path("/etc/monitoring") / RULES.name
DASHBOARDS_MOUNTED = "/etc/dashboards"
SECRETS = COMPOSE.parent / "secrets"
ADMIN_PORT = 9901
SCRAPE_SECONDS = 5
READABLE = 0o022
BEGIN, IMAGE = "make up", "IMAGE"
BUSY = "A release, or another `make up`, is under way."
PARTS = ("gateway", "prometheus")
LOOKS = {
    "gateway": (PORT, "The service"),
    "grafana": (3000, "Dashboards"),
    "prometheus": (9090, "Prometheus"),
    "alertmanager": (9093, "Alertmanager"),
}
"""What a person looks at: port in the network, and what it is."""


def up(project: Project, image: str) -> int:
    """Start all of it, or what has changed; return the exit code.

    Args:
        project: Of the working folder.
        image: That stable is to run; "" is that which it runs, or else the one of the file.
    """
    os.umask(READABLE)  # by the users of the containers, too
    try:
        stated = slo.read()
        for needed in (RULES, DASHBOARDS):
            if not needed.exists():
                raise UserError(f"There is no {needed}: make rules.")
        with only_one(FOLDER / LOCK, BUSY):
            known = record.read(FOLDER)
            if known and not known.ended:
                Compose().up(*PARTS)  # without which it could not go on
                raise UserError(record.unfinished(known, IMAGE))
            found = _up(stated.job or project.name, image)
        for name, (port, what) in LOOKS.items():
            if url := found.get(name, {}).get(port):
                print(f"{what}: {url}")
        print("Release another image: make canary IMAGE=...; end all of it: make down")
    except UserError as error:
        print(f"Not all of it runs. {error}", file=sys.stderr)
        return 1
    return 0


def down(_: Project) -> int:
    """Stop all that runs of the project in the working folder; return the exit code."""
    os.umask(READABLE)  # the folder stays
    try:
        with only_one(FOLDER / LOCK, BUSY):
            compose = Compose()
            seen = compose.container(STABLE)
            compose.down()
            for each in (gateway.ADDRESSES, f"{envoy.DISCOVERED}/{envoy.ROUTES}"):
                (FOLDER / each).unlink(missing_ok=True)
            progress.abort(FOLDER)
        again = f" IMAGE={seen.image}" if seen else ""
        print(f"Nothing runs. What Prometheus knows is kept. Start it again: make up{again}")
    except UserError as error:
        print(f"Not all of it was stopped. {error}", file=sys.stderr)
        return 1
    return 0


def find(job: str) -> tuple[Gateway, Compose]:
    """Return the gateway that runs in containers.

    Raises:
        UserError: none does, or a part of it does not answer.
    """
    addresses, compose = gateway.read(FOLDER, BEGIN), Compose()
    ready = f"{addresses.envoy}/ready", f"{addresses.prometheus}/-/ready"
    for name, url in zip(PARTS, ready, strict=True):
        if not answers(url):
            raise UserError(f"{name} does not answer. Start it again: {BEGIN}.")
    configured = _configured(compose.services()[SERVICES[STABLE]])
    return Gateway(FOLDER, addresses, configured, job), compose


def _up(job: str, image: str) -> dict[str, dict[int, str]]:
    """Start all of it; return where each service answers on this host, by its port."""
    seen = Compose().container(STABLE)
    compose = Compose({STABLE: image or (seen.image if seen else "")})
    services = compose.services()
    published = _needed(services)
    is_new = write(job, services)
    SECRETS.mkdir(exist_ok=True)
    _serve(job, compose, seen)
    # What Envoy is started with is read once, and of another folder they know nothing.
    compose.up(*PARTS, options=("--force-recreate",) if is_new else ())
    addresses = Addresses(
        service=published["gateway"][PORT],
        stable=f"http://{SERVICES[STABLE]}:{PORT}",
        envoy=published["gateway"][ADMIN_PORT],
        prometheus=published["prometheus"][9090],
    )
    gateway.write(FOLDER, addresses)
    compose.up()
    for name in {"prometheus", "alertmanager"} & services.keys():
        compose.signal("HUP", name)  # they read their files again
    # What was killed may have left a canary, or routes to one.
    Containers(find(job)[0], compose).end_canary()
    return published


def _needed(services: Mapping[str, Any]) -> dict[str, dict[int, str]]:
    """Return where each service answers on this host, by its port.

    Raises:
        UserError: one without which nothing can be released is not in the file.
    """
    if missing := sorted({*SERVICES.values(), *PARTS} - services.keys()):
        raise UserError(f"{COMPOSE}: {missing[0]} is missing; releases need it.")
    found = {name: _published(each) for name, each in services.items()}
    for name, port in (("gateway", PORT), ("gateway", ADMIN_PORT), ("prometheus", 9090)):
        if port not in found[name]:
            raise UserError(f"{COMPOSE}: {name} must publish {port}; releases need it.")
    return found


def _serve(job: str, compose: Compose, seen: Container | None) -> None:
    """Start stable; one that serves is started anew, where that is needed, without a lost request.

    Args:
        job: How Prometheus calls the service.
        compose: With the image that it is to have.
        seen: What runs now.
    """
    if seen and seen.healthy and not compose.is_current(STABLE):
        containers = _behind_a_gateway(job, compose)
        if containers:
            print("Another one answers until it is started anew.", flush=True)
            try:
                containers.replace(seen.image, compose.image(STABLE))
            finally:
                containers.end_canary()
    compose.up(SERVICES[STABLE])
    watch(compose)


def _behind_a_gateway(job: str, compose: Compose) -> Containers | None:
    try:
        return Containers(find(job)[0], compose)
    except UserError:  # then nobody is answered
        return None


def write(job: str, services: Mapping[str, Any]) -> bool:
    """Write what the containers read; return whether Envoy must be started anew for it."""
    configured = _configured(services[SERVICES[STABLE]])
    urls = {track: f"http://{name}:{PORT}" for track, name in SERVICES.items()}
    layout = envoy.Layout(MOUNTED, urls[STABLE], f"http://0.0.0.0:{ADMIN_PORT}", urls[CANARY])
    is_new = not (FOLDER / gateway.ADDRESSES).exists()
    is_new |= envoy.write_bootstrap(FOLDER, envoy.bootstrap(layout, configured))
    # Else they stay: the canary may be all that answers.
    if not (FOLDER / envoy.DISCOVERED / envoy.ROUTES).exists():
        envoy.write_routes(FOLDER, configured)
    envoy.write_endpoints(FOLDER, SHADOW)
    gateway.write_targets(FOLDER, ENVOY, [target(f"http://gateway:{ADMIN_PORT}", envoy.STATS)])
    told = "http://alertmanager:9093" if "alertmanager" in services else ""
    jobs = gateway.jobs(MOUNTED, job)
    _write_yaml(FOLDER, "prometheus.yaml", prometheus(jobs, RULES_MOUNTED, SCRAPE_SECONDS, told))
    for kind, content in _grafana().items():
        _write_yaml(FOLDER / "grafana" / kind, "service.yaml", content)
    return is_new


def _grafana() -> dict[str, dict[str, Any]]:
    """Return what Grafana reads when it starts, by the folders that it looks into."""
    source = {"name": "Prometheus", "type": "prometheus", "access": "proxy", "isDefault": True}
    return {
        "datasources": {
            "apiVersion": 1,
            "datasources": [{**source, "uid": "prometheus", "url": "http://prometheus:9090"}],
        },
        "dashboards": {
            "apiVersion": 1,
            "providers": [
                {"name": "service", "type": "file", "options": {"path": DASHBOARDS_MOUNTED}}
            ],
        },
    }


def _write_yaml(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    storage.write(folder, name, yaml.safe_dump({**content}, sort_keys=False).encode())


def _configured(service: Mapping[str, Any]) -> Settings:
    """Return the settings of the service in its container, which Envoy is to fit."""
    with settings.only(service.get("environment", {})):
        found = settings.read()
    return found.model_copy(update={"host": "0.0.0.0", "port": PORT})  # noqa: S104 - in a container


def _published(service: Mapping[str, Any]) -> dict[int, str]:
    """Return where this host finds the ports of a service."""
    return {
        int(each["target"]): f"http://{each.get('host_ip', LOCAL)}:{each['published']}"
        for each in service.get("ports", ())
        if each.get("published")
    }
