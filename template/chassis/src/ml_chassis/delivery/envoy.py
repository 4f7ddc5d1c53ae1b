"""Envoy in front of stable, canary and shadow: its configuration, and the program."""

import json
import os
import re
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from subprocess import Popen
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from .. import storage
from ..observe.servers import find
from ..programs import LOCAL, answers, free_port, running
from ..settings import CANARY, SHADOW, STABLE, Settings
from .routes import TESTED, Sharing, routes

ENVOY = ("envoy",)
GET = (
    "Debian and Ubuntu: https://apt.envoyproxy.io. macOS: brew install envoy. With Docker: "
    "docker run --rm --entrypoint cat envoyproxy/envoy:v1.40.0 /usr/local/bin/envoy > envoy, "
    "then chmod +x envoy, and put it on the PATH"
)
BOOTSTRAP, ROUTES = "envoy.json", "routes.json"
DISCOVERED = "discovered"
"""Folder of the files that Envoy reads again when they are replaced."""
HEALTH_SECONDS = 1
IDLE_SECONDS = 60
MOST_THREADS = 4
MOST_CONNECTIONS = 10_000
HEADERS_BYTES = 65_536
UNBOUNDED = 1_000_000
MOST_MIRRORED = 128
"""Requests that a shadow has not answered; while it has so many, it is sent no other ones. Each may
keep a body in memory."""
HTTP = "type.googleapis.com/envoy.extensions.filters"
NAMED = {
    "cluster_type": {
        "name": "envoy.cluster.dns",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster",
            "dns_lookup_family": "V4_PREFERRED",
            "dns_refresh_rate": "1s",
            "dns_failure_refresh_rate": {"base_interval": "1s", "max_interval": "1s"},
            "respect_dns_ttl": False,
        },
    }
}
"""A cluster whose addresses are looked up by name."""
UPSTREAM = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
ALONE = Sharing()
"""Stable answers all."""
STATS = "/stats/prometheus"
VERSION = re.compile(r'text_value="(\w+)"')
OPEN = ("/ready", "/clusters", STATS)
"""What the administration answers: nothing that would change something."""


class Layout(NamedTuple):
    """Where Envoy finds what it needs.

    Attributes:
        folder: Of its files, as a whole path.
        stable: Address of the service.
        admin: Address of its administration.
        canary: Address of the canary, where that is known before; else Envoy reads it from a file.
    """

    folder: Path
    stable: str
    admin: str
    canary: str = ""


@contextmanager
def running_envoy(
    folder: Path, configured: Settings, stable: str
) -> Iterator[tuple[str, Popen[bytes]]]:
    """Run Envoy until the block ends, at first with all requests for stable.

    Args:
        folder: Takes its files.
        configured: Where it listens, and how large a request may be.
        stable: Address of the service.

    Yields:
        The address of its administration, for this machine alone, and its process.

    Raises:
        ProgramError: it does not start.
        UserError: it is not installed.
    """
    program, port = find(ENVOY, GET), free_port()
    (folder / DISCOVERED).mkdir(parents=True, exist_ok=True)
    write_endpoints(folder, CANARY, stable)  # known to be healthy before a canary fails
    write_endpoints(folder, SHADOW)
    write_routes(folder, configured)
    admin = f"http://{LOCAL}:{port}"
    write_bootstrap(folder, bootstrap(Layout(folder.absolute(), stable, admin), configured))
    command = [
        *(program, "--config-path", str(folder / BOOTSTRAP)),
        *("--disable-hot-restart", "--log-level", "warning"),
        *("--concurrency", str(min(os.cpu_count() or 1, MOST_THREADS))),
    ]
    ready, log = f"{admin}/ready", folder / "envoy.log"
    with running(command, lambda: answers(ready), log=log) as process:
        yield admin, process


def write_routes(folder: Path, configured: Settings, sharing: Sharing = ALONE) -> str:
    """Share the requests; those under way are not touched. Return the version of the routes."""
    found = routes(configured, sharing)
    return _write(folder / DISCOVERED / ROUTES, "route.v3.RouteConfiguration", found)


def write_endpoints(folder: Path, track: str, *urls: str) -> None:
    """Say where a track is: each address is asked where the one before it is not healthy."""
    path = folder / DISCOVERED / _endpoints(track)
    _write(path, "endpoint.v3.ClusterLoadAssignment", _assigned(track, urls))


def version(admin: str) -> str:
    """Return the version of the routes that Envoy follows; "" where it does not answer.

    Args:
        admin: Address of its administration.
    """
    asked = f"{admin}{STATS}?text_readouts&filter=rds.*version_text"
    try:
        found = VERSION.search(httpx.get(asked, trust_env=False).text)
    except httpx.TransportError:
        return ""
    return found[1] if found else ""


def hosts(admin: str, track: str) -> set[str]:
    """Return where Envoy has found a track that is known by name, and is healthy.

    Args:
        admin: Address of its administration.
        track: Whose first address is looked for.
    """
    try:
        answer = httpx.get(f"{admin}/clusters?format=json", trust_env=False)
        found = next(each for each in answer.json()["cluster_statuses"] if each["name"] == track)
    except (httpx.TransportError, ValueError, LookupError, StopIteration):
        return set()
    return {
        each["address"]["socket_address"]["address"]
        for each in found.get("host_statuses", ())
        if not each.get("priority") and "failed_active_health_check" not in each["health_status"]
    }


def write_bootstrap(folder: Path, content: dict[str, Any]) -> bool:
    """Write what Envoy is started with; return whether it is new."""
    path, text = folder / BOOTSTRAP, json.dumps(content, indent=1)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    storage.write(folder, BOOTSTRAP, text.encode())
    return True


def bootstrap(layout: Layout, configured: Settings) -> dict[str, Any]:
    """Return what Envoy is started with.

    Args:
        layout: Where what it needs is.
        configured: Where it listens, and how large a request may be.
    """
    folder, idle = layout.folder, min(IDLE_SECONDS, configured.keep_alive_seconds / 2)
    tested = _known(TESTED, idle, layout.stable)
    tested["circuit_breakers"]["thresholds"][0]["max_retries"] = 0
    clusters = [
        _known(STABLE, idle, layout.stable),
        tested,
        _canary(layout, idle),
        _discovered(folder, SHADOW, idle, MOST_MIRRORED),
    ]
    most = "downstream_connections.v3.DownstreamConnectionsConfig"
    bound = {
        "@type": f"type.googleapis.com/envoy.extensions.resource_monitors.{most}",
        "max_active_downstream_connections": MOST_CONNECTIONS,
    }
    monitor = {"name": "envoy.resource_monitors.global_downstream_max_connections"}
    return {
        "node": {"id": "gateway", "cluster": "gateway"},
        "overload_manager": {"resource_monitors": [{**monitor, "typed_config": bound}]},
        "admin": {**_at(layout.admin), "allow_paths": [{"prefix": path} for path in OPEN]},
        "static_resources": {"listeners": [_listener(folder, configured)], "clusters": clusters},
    }


def _listener(folder: Path, configured: Settings) -> dict[str, Any]:
    connections = {
        "@type": f"{HTTP}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "use_remote_address": True,
        # The service makes one where a client gives none.
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "request_headers_timeout": "10s",
        "request_timeout": "60s",
        "common_http_protocol_options": {"idle_timeout": f"{configured.keep_alive_seconds}s"},
        "rds": {"route_config_name": "routes", "config_source": _read_again(folder, ROUTES)},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{HTTP}.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            }
        ],
    }
    manager = "envoy.filters.network.http_connection_manager"
    return {
        "name": "gateway",
        **_address(_ip(configured.host), configured.port),
        # Else another process could listen there, too, and answer in turn.
        "enable_reuse_port": False,
        # What is to be asked again must be kept until it is answered.
        "per_connection_buffer_limit_bytes": configured.max_body_bytes + HEADERS_BYTES,
        "filter_chains": [{"filters": [{"name": manager, "typed_config": connections}]}],
    }


def _known(name: str, idle: float, *urls: str) -> dict[str, Any]:
    """Return a track at addresses that stay; of a name, it is asked all the time whose it is."""
    return {
        **_cluster(name, idle),
        **({"type": "STATIC"} if _is_ip(urls[0]) else NAMED),
        "load_assignment": _assigned(name, urls),
    }


def _canary(layout: Layout, idle: float) -> dict[str, Any]:
    check = {
        "timeout": f"{HEALTH_SECONDS}s",
        "interval": f"{HEALTH_SECONDS}s",
        "no_traffic_interval": f"{HEALTH_SECONDS}s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/readyz"},
    }
    found = (
        _known(CANARY, idle, layout.canary, layout.stable)
        if layout.canary
        else _discovered(layout.folder, CANARY, idle)
    )
    return {
        **found,
        "health_checks": [check],
        # Else a canary that is taken away would get requests until a check has failed.
        "ignore_health_on_host_removal": True,
    }


def _discovered(folder: Path, track: str, idle: float, most: int = UNBOUNDED) -> dict[str, Any]:
    """Return a track that comes and goes."""
    return {
        **_cluster(track, idle, most),
        "type": "EDS",
        "eds_cluster_config": {"eds_config": _read_again(folder, _endpoints(track))},
    }


def _cluster(name: str, idle: float, most: int = UNBOUNDED) -> dict[str, Any]:
    """Return a group of replicas, whose connections are closed before they close them.

    Args:
        name: Of the track.
        idle: Seconds after which a connection without a request is closed.
        most: Requests that are under way at once at most.
    """
    options = {
        "@type": f"type.googleapis.com/{UPSTREAM}",
        "common_http_protocol_options": {"idle_timeout": f"{idle:g}s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    # The service bounds what waits; of three retries at once, as is the default, clients would see.
    bounds = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {
        "name": name,
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {UPSTREAM: options},
        "circuit_breakers": {"thresholds": [dict.fromkeys(bounds, most)]},
    }


def _read_again(folder: Path, name: str) -> dict[str, Any]:
    found = folder / DISCOVERED
    watched = {"path": str(found / name), "watched_directory": {"path": str(found)}}
    return {"resource_api_version": "V3", "path_config_source": watched}


def _endpoints(track: str) -> str:
    """Return the name of the file that says where a track is."""
    return f"{track}.json"


def _assigned(track: str, urls: Sequence[str]) -> dict[str, Any]:
    """Return where a track is: each address is asked where the one before it is not healthy."""
    return {
        "cluster_name": track,
        "policy": {"overprovisioning_factor": 100},
        "endpoints": [
            {"priority": number, "lb_endpoints": [{"endpoint": _at(url)}]}
            for number, url in enumerate(urls)
        ],
    }


def _at(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return _address(str(parts.hostname), parts.port or 80)


def _address(host: str, port: int) -> dict[str, Any]:
    return {"address": {"socket_address": {"address": host, "port_value": port}}}


def _is_ip(url: str) -> bool:
    try:
        return bool(ip_address(str(urlsplit(url).hostname)))
    except ValueError:
        return False


def _ip(host: str) -> str:
    """Return the address of a host of this machine: Envoy listens on no name."""
    return host if ":" in host else socket.gethostbyname(host)


def _write(path: Path, kind: str, resource: dict[str, Any]) -> str:
    """Write a file that Envoy reads again, and return its version."""
    typed = {"@type": f"type.googleapis.com/envoy.config.{kind}", **resource}
    version = secrets.token_hex(8)
    text = json.dumps({"version_info": version, "resources": [typed]}, indent=1)
    storage.write(path.parent, path.name, text.encode())
    return version
