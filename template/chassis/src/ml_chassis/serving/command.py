"""Start the service as in production: `make serve`, and the command of the image."""

import logging
import os
import shutil
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from .. import logs, settings
from ..errors import UserError
from ..project import Project

LOGGER = logging.getLogger("model_service")
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the folder made in it is this user's
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def run(project: Project) -> None:
    """Serve until stopped."""
    try:
        configured = settings.read()
        logs.start(configured.log_format)
        claims = [claim(configured.host, configured.port, "PORT")]
        if configured.metrics_port:
            name = f"{settings.PREFIX}METRICS_PORT"
            claims.append(claim(configured.host, configured.metrics_port, name))
    except UserError as error:
        sys.exit(f"The service cannot start. {error}")
    if configured.workers > (cpus := available_cpus()):
        LOGGER.warning(
            "%sWORKERS is %d, but this process may use only %g CPUs: more workers than CPUs take "
            "memory and answer no faster.",
            *(settings.PREFIX, configured.workers, cpus),
        )
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # no production service may call home
    # The workers share their counts in a folder, which the metrics library looks for on import.
    # On a disk, each count would now and then wait for it.
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    counts = tempfile.mkdtemp("", "model-service-metrics-", memory)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = counts
    supervisor = os.getpid()
    try:
        from .production import Production

        Production(project, configured).run()
    finally:
        if os.getpid() == supervisor:  # a worker leaves through here as well
            shutil.rmtree(counts, ignore_errors=True)
            for each in claims:
                each.close()


def available_cpus() -> float:
    """Return how many CPUs this process may use: by its affinity, or by a container's limit."""
    cpus = float(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1)
    with suppress(OSError, ValueError):  # there is no control group, or it has no limit
        quota, period = CPU_LIMIT.read_text(encoding="ascii").split()
        cpus = min(cpus, int(quota) / int(period))
    return cpus


def claim(host: str, port: int, name: str) -> socket.socket:
    """Take an address, whose port a variable names, until the socket that is returned is closed.

    The workers share the port, so the system would let another service of this user share it too,
    and either would answer in turn. A name that only one process can have keeps it away; on Linux,
    where such names belong to the network, as ports do.

    Raises:
        SettingsError: somebody has it, or there is no such address here.
    """
    _require_free(host, port, name)
    held = socket.socket(socket.AF_UNIX)
    if sys.platform == "linux":
        try:
            held.bind(f"\0ml-service-chassis {host}:{port}")
        except OSError as error:
            held.close()
            raise _taken(host, port, name, error) from None
    return held


def _require_free(host: str, port: int, name: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _taken(host, port, name, error) from None


def _taken(host: str, port: int, name: str, error: OSError) -> settings.SettingsError:
    return settings.SettingsError(
        f"{host}:{port}: {error.strerror}. Set another {name}, or {settings.PREFIX}HOST."
    )
