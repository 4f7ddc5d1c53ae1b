"""Prometheus and Alertmanager on this machine, as programs that run beside this one."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from ..errors import UserError
from ..programs import LOCAL, answers, free_port, running

PROMETHEUS, ALERTMANAGER = ("prometheus",), ("alertmanager", "prometheus-alertmanager")
"""Their programs; Debian calls the second one otherwise."""
READY = "/-/ready"
GET = (
    "Debian and Ubuntu: sudo apt-get install prometheus prometheus-alertmanager. "
    "macOS: brew install prometheus alertmanager. Others: https://prometheus.io/download"
)


@contextmanager
def running_prometheus(
    folder: Path,
    targets: Mapping[str, Sequence[str] | Path],
    rules: Path,
    *,
    seconds: int,
    key: str = "",
    alertmanager: str = "",
) -> Iterator[str]:
    """Run a server until the block ends; yield its address once it is ready.

    Args:
        folder: Takes its files; what it knew stays there.
        targets: Addresses that it scrapes, by the name of their job; or the whole path of a JSON
            file with what `target` returns, which it reads again when that is replaced.
        rules: What it evaluates.
        seconds: Between two scrapes.
        key: What the targets want to be given, if any.
        alertmanager: Address of what is told of alerts, if any.

    Raises:
        ProgramError: it does not start.
        UserError: it is not installed.
    """
    secret = folder.absolute() / "key"
    secret.unlink(missing_ok=True)
    configuration = prometheus(targets, rules.absolute(), seconds, alertmanager)
    if key:
        secret.touch(mode=0o600)
        secret.write_text(key, encoding="utf-8")
        for each in configuration["scrape_configs"]:
            each["authorization"] = {"credentials_file": str(secret)}
    options = (f"--storage.tsdb.path={folder}/prometheus", "--log.level=warn")
    try:
        port = free_port()
        with _running(PROMETHEUS, folder, "prometheus", configuration, options, port) as url:
            yield url
    finally:
        secret.unlink(missing_ok=True)


def prometheus(
    targets: Mapping[str, Sequence[str] | Path], rules: Path, seconds: int, alertmanager: str = ""
) -> dict[str, Any]:
    """Return the configuration of a server; see `running_prometheus`.

    Args:
        targets: What it scrapes.
        rules: The whole path of what it evaluates.
        seconds: Between two scrapes.
        alertmanager: Address of what is told of alerts, if any.
    """
    configuration: dict[str, Any] = {
        "global": {"scrape_interval": f"{seconds}s", "evaluation_interval": f"{seconds}s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": job, **_discovered(found, seconds)} for job, found in targets.items()
        ],
    }
    if alertmanager:
        there = [{"targets": [urlsplit(alertmanager).netloc]}]
        configuration["alerting"] = {"alertmanagers": [{"static_configs": there}]}
    return configuration


@contextmanager
def running_alertmanager(
    folder: Path, configuration: Mapping[str, Any], port: int
) -> Iterator[str]:
    """Run Alertmanager on a port, which knows no others; see `running_prometheus`."""
    options = (f"--storage.path={folder}/alertmanager", "--cluster.listen-address=")
    with _running(ALERTMANAGER, folder, "alertmanager", configuration, options, port) as url:
        yield url


@contextmanager
def _running(
    programs: Sequence[str],
    folder: Path,
    name: str,
    configuration: Mapping[str, Any],
    options: Sequence[str],
    port: int,
) -> Iterator[str]:
    path = folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(dict(configuration), sort_keys=False), encoding="utf-8")
    url = f"http://{LOCAL}:{port}"
    command = [
        find(programs),
        f"--config.file={path}",
        f"--web.listen-address={urlsplit(url).netloc}",
        *options,
    ]
    with running(command, lambda: answers(f"{url}{READY}"), log=folder / f"{name}.log"):
        yield url


def find(programs: Sequence[str], get: str = GET) -> str:
    """Return where the first of some programs is that is installed.

    Args:
        programs: Names of the same one.
        get: How to get it.

    Raises:
        UserError: none is.
    """
    for program in programs:
        if found := shutil.which(program):
            return found
    raise UserError(f"{programs[0]} is not installed. {get}.")


def target(url: str, path: str = "/metrics", instance: str = "") -> dict[str, Any]:
    """Return where something is, as Prometheus reads it.

    Args:
        url: Its address.
        path: Of its metrics, below that.
        instance: How Prometheus calls it; without one, by host and port.
    """
    parts = urlsplit(url)
    labels = {"__scheme__": parts.scheme, "__metrics_path__": f"{parts.path.rstrip('/')}{path}"}
    if instance:
        labels["instance"] = instance
    return {"targets": [parts.netloc], "labels": labels}


def _discovered(found: Sequence[str] | Path, seconds: int) -> dict[str, Any]:
    if isinstance(found, Path):
        return {"file_sd_configs": [{"files": [str(found)], "refresh_interval": f"{seconds}s"}]}
    return {"static_configs": [target(url) for url in found]}
