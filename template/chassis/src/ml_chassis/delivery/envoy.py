"""Envoy in front of stable, canary and shadow: its configuration, and the program.

A request that the canary fails is asked again of stable, and one that it does not answer in time,
too, so that no client sees a failure of the canary alone. That is safe for predictions, which
change nothing; of routes of a team's own nobody knows, so there only what was not sent is asked
again.

What a shadow is sent is a copy, for whose answer nobody waits.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any
from urllib.parse import urlsplit

from .. import storage
from ..current import PREDICTION_ID
from ..observe.servers import find
from ..programs import LOCAL, answers, free_port, running
from ..serving.guard import OWN
from ..settings import CANARY, SHADOW, STABLE, Settings

ENVOY = ("envoy",)
GET = (
    "Debian and Ubuntu: https://apt.envoyproxy.io. macOS: brew install envoy. With Docker: "
    "docker run --rm --entrypoint cat envoyproxy/envoy:v1.40.0 /usr/local/bin/envoy > envoy, "
    "then chmod +x envoy, and put it on the PATH"
)
ROUTES = "routes.json"
PREDICT = "/predict"
DISCOVERED = "discovered"
"""Folder of the files that Envoy reads again when they are replaced."""
SMALL_BYTES = 65_536
TRY_SECONDS, LARGE_TRY_SECONDS = 2, 15
"""Beyond what the model may take for a call, after which a request to the canary is asked again; a
large one is predicted in many calls."""
HEALTH_SECONDS = 1
IDLE_SECONDS = 60
MOST_THREADS = 4
MOST_CONNECTIONS = 10_000
HEADERS_BYTES = 65_536
UNBOUNDED = 1_000_000
MOST_MIRRORED = 128
"""Requests that a shadow has not answered; while it has so many, it is sent no other ones. Each may
keep a body in memory."""
NOT_SENT = "connect-failure,refused-stream,reset-before-request"
FAILED = "5xx,reset,connect-failure,refused-stream,retriable-status-codes"
BUSY = 429
HTTP = "type.googleapis.com/envoy.extensions.filters"
UPSTREAM = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
PREVIOUS = "envoy.retry_priorities.previous_priorities"


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
    path = folder / "envoy.json"
    path.write_text(json.dumps(bootstrap(folder.absolute(), configured, stable, port), indent=1))
    admin = f"http://{LOCAL}:{port}"
    command = [
        *(program, "--config-path", str(path), "--disable-hot-restart", "--log-level", "warning"),
        *("--concurrency", str(min(os.cpu_count() or 1, MOST_THREADS))),
    ]
    ready, log = f"{admin}/ready", folder / "envoy.log"
    with running(command, lambda: answers(ready), log=log) as process:
        yield admin, process


def write_routes(folder: Path, configured: Settings, *, weight: int = 0, mirrored: int = 0) -> None:
    """Share the requests; those under way are not touched. See `routes`."""
    found = routes(configured, weight, mirrored)
    _write(folder / DISCOVERED / ROUTES, "route.v3.RouteConfiguration", found)


def write_endpoints(folder: Path, track: str, *urls: str) -> None:
    """Say where a track is: each address is asked where the one before it is not healthy."""
    found = {
        "cluster_name": track,
        "policy": {"overprovisioning_factor": 100},
        "endpoints": [
            {"priority": number, "lb_endpoints": [_endpoint(url)]}
            for number, url in enumerate(urls)
        ],
    }
    path = folder / DISCOVERED / _endpoints(track)
    _write(path, "endpoint.v3.ClusterLoadAssignment", found)


def routes(configured: Settings, weight: int = 0, mirrored: int = 0) -> dict[str, Any]:
    """Return who answers what.

    Predictions, labels and a team's own routes are shared between the tracks; whatever else is
    asked, as probes and metrics, is about the service that is there to stay.

    Args:
        configured: How long the model may take.
        weight: Percent of what is shared that the canary gets.
        mirrored: Percent of the predictions of stable that a shadow is asked for, too.
    """
    own: dict[str, Any] = {"prefix": OWN}
    posted: dict[str, Any] = {"prefix": "/", "headers": [_exactly(":method", "POST")]}
    fraction = _percent(weight)
    # The service has its own limits; an answer may be long.
    canary, stable = ({"cluster": each, "timeout": "0s"} for each in (CANARY, STABLE))
    careful = {"retry_on": NOT_SENT, "num_retries": 1}
    length = {"name": "content-length", "range_match": {"start": 0, "end": SMALL_BYTES}}
    small = {**posted, "headers": [*posted["headers"], length]}
    quick, patient = (
        {"route": {**canary, "retry_policy": _again(configured.model_seconds + seconds)}}
        for seconds in (TRY_SECONDS, LARGE_TRY_SECONDS)
    )
    shared = [
        {
            "match": {**own, "runtime_fraction": fraction},
            "route": {**canary, "retry_policy": {**careful, **_of_the_other()}},
        },
        {"match": own, "route": {**stable, "retry_policy": careful}},
        {"match": {**small, "runtime_fraction": fraction}, **quick},
        {"match": small, "route": {**stable, "retry_policy": careful}},
        {"match": {**posted, "runtime_fraction": fraction}, **patient},
    ]
    predict = {"path": PREDICT, "headers": posted["headers"]}
    copied = {
        "match": {**predict, "runtime_fraction": _percent(mirrored)},
        "route": {
            **stable,
            "retry_policy": careful,
            "request_mirror_policies": [{"cluster": SHADOW}],
        },
        "request_headers_to_add": [_set(PREDICTION_ID, "%UNIQUE_ID%")],
    }
    rest = {"match": {"prefix": "/"}, "route": {**stable, "retry_policy": careful}}
    found = [*(shared if weight else []), *([copied] if mirrored else []), rest]
    host = {
        "name": "service",
        "domains": ["*"],
        "routes": found,
        # Clients name no prediction.
        "request_headers_to_remove": [PREDICTION_ID],
    }
    return {
        "name": "routes",
        "virtual_hosts": [host],
        "most_specific_header_mutations_wins": True,
    }


def _again(seconds: float) -> dict[str, Any]:
    """Return how a request is asked again, also when there is no answer after so many seconds."""
    return {
        "retry_on": FAILED,
        "retriable_status_codes": [BUSY],
        "num_retries": 1,
        "per_try_timeout": f"{seconds:g}s",
        **_of_the_other(),
    }


def _of_the_other() -> dict[str, Any]:
    """Return that it is asked of the other priority, which is stable."""
    kind = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
    other = {"@type": f"type.googleapis.com/{kind}", "update_frequency": 1}
    return {"retry_priority": {"name": PREVIOUS, "typed_config": other}}


def bootstrap(folder: Path, configured: Settings, stable: str, admin_port: int) -> dict[str, Any]:
    """Return what Envoy is started with.

    Args:
        folder: Where its files are, as a whole path.
        configured: Where it listens, and how large a request may be.
        stable: Address of the service.
        admin_port: Of its administration.
    """
    idle = min(IDLE_SECONDS, configured.keep_alive_seconds / 2)
    clusters = [_stable(stable, idle), _canary(folder, idle), _shadow(folder, idle)]
    most = "downstream_connections.v3.DownstreamConnectionsConfig"
    bound = {
        "@type": f"type.googleapis.com/envoy.extensions.resource_monitors.{most}",
        "max_active_downstream_connections": MOST_CONNECTIONS,
    }
    monitor = {"name": "envoy.resource_monitors.global_downstream_max_connections"}
    return {
        "node": {"id": "gateway", "cluster": "gateway"},
        "overload_manager": {"resource_monitors": [{**monitor, "typed_config": bound}]},
        "admin": _address(LOCAL, admin_port),
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


def _stable(url: str, idle: float) -> dict[str, Any]:
    there = [{"lb_endpoints": [_endpoint(url)]}]
    return {
        **_cluster(STABLE, idle),
        "type": "STATIC",
        "load_assignment": {"cluster_name": STABLE, "endpoints": there},
    }


def _canary(folder: Path, idle: float) -> dict[str, Any]:
    check = {
        "timeout": f"{HEALTH_SECONDS}s",
        "interval": f"{HEALTH_SECONDS}s",
        "no_traffic_interval": f"{HEALTH_SECONDS}s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/readyz"},
    }
    return {
        **_discovered(folder, CANARY, idle),
        "health_checks": [check],
        # Else a canary that is taken away would get requests until a check has failed.
        "ignore_health_on_host_removal": True,
    }


def _shadow(folder: Path, idle: float) -> dict[str, Any]:
    return _discovered(folder, SHADOW, idle, MOST_MIRRORED)


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


def _endpoint(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {"endpoint": _address(str(parts.hostname), parts.port or 80)}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"address": {"socket_address": {"address": host, "port_value": port}}}


def _ip(host: str) -> str:
    """Return the address of a host of this machine: Envoy listens on no name."""
    return host if ":" in host else socket.gethostbyname(host)


def _exactly(header: str, value: str) -> dict[str, Any]:
    return {"name": header, "string_match": {"exact": value}}


def _set(header: str, value: str) -> dict[str, Any]:
    """Return that a header has this value, whatever a client says."""
    how = {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {"header": {"key": header, "value": value}, **how}


def _percent(share: int) -> dict[str, Any]:
    return {"default_value": {"numerator": share, "denominator": "HUNDRED"}}


def _write(path: Path, kind: str, resource: dict[str, Any]) -> None:
    typed = {"@type": f"type.googleapis.com/envoy.config.{kind}", **resource}
    text = json.dumps({"resources": [typed]}, indent=1)
    storage.write(path.parent, path.name, text.encode())
