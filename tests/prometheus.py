"""A real Prometheus on this machine, and its own tools."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

from ml_chassis.programs import answers, free_port, running

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
DURATION = re.compile(r"\[(\d+)([smhd])\]")


class Sample(NamedTuple):
    """One of the samples that answer a question."""

    labels: dict[str, str]
    value: float


class Prometheus(NamedTuple):
    """A server that scrapes every second."""

    url: str

    def ask(self, expr: str) -> list[Sample]:
        """Return the samples of an expression, now.

        Raises:
            ValueError: it is none.
        """
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expr}, trust_env=False)
        found = answer.json()
        if found["status"] != "success":
            raise ValueError(f"{expr}: {found['error']}")
        return [Sample(each["metric"], float(each["value"][1])) for each in found["data"]["result"]]

    def firing(self) -> set[tuple[str, ...]]:
        """Return the alerts that fire: job, name, and feature where they are about one."""
        return {
            tuple(filter(None, (each.labels.get(name) for name in ("job", "alertname", "feature"))))
            for each in self.ask('ALERTS{alertstate="firing"}')
        }


def tool(name: str) -> str:
    """Return where a program of Debian's packages is; without it, the test is skipped."""
    found = shutil.which(name)
    if found is None:
        assert "REQUIRE_SERVERS" not in os.environ, f"there is no {name}"
        pytest.skip(f"NOT TESTED: there is no {name}")
    return found


def promtool(*arguments: str | Path) -> None:
    """Run Prometheus' tool, which must be content."""
    command = [tool("promtool"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def quicker(rules: dict[str, Any], times: int) -> dict[str, Any]:
    """Return rules of which each duration is so many times shorter."""

    def shorter(seconds: int) -> str:
        return f"{max(seconds // times, 1)}s"

    def of(value: object, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: of(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [of(each) for each in value]
        if key in {"for", "interval"}:
            return shorter(int(str(value)[:-1]) * UNITS[str(value)[-1]])
        if key == "expr":
            return DURATION.sub(
                lambda found: f"[{shorter(int(found[1]) * UNITS[found[2]])}]", str(value)
            )
        return value

    changed: dict[str, Any] = of(rules)
    return changed


@contextmanager
def running_prometheus(
    folder: Path,
    targets: Mapping[str, Sequence[str]],
    rules: dict[str, Any] | None = None,
    alertmanager: str = "",
) -> Iterator[Prometheus]:
    """Run a server that scrapes each target every second: addresses, by the name of their job.

    Args:
        folder: Takes its files.
        targets: What is scraped.
        rules: What it evaluates.
        alertmanager: Address of what is told of alerts, if any.
    """
    port = free_port()
    configuration: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [_host(url) for url in urls]}]}
            for job, urls in targets.items()
        ],
    }
    if rules:
        (folder / "rules.yaml").write_text(yaml.safe_dump(rules, sort_keys=False))
        configuration["rule_files"] = ["rules.yaml"]
    if alertmanager:
        told = {"static_configs": [{"targets": [_host(alertmanager)]}]}
        configuration["alerting"] = {"alertmanagers": [told]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    command = [
        tool("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    found = Prometheus(f"http://127.0.0.1:{port}")
    with running(command, lambda: _scrapes_all(found)):
        yield found


@contextmanager
def running_alertmanager(folder: Path, configuration: dict[str, Any]) -> Iterator[str]:
    """Run Alertmanager on this machine alone; yield its address."""
    port = free_port()
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(configuration))
    command = [
        tool("prometheus-alertmanager"),
        f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/alertmanager",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        "--log.level=warn",
    ]
    url = f"http://127.0.0.1:{port}"
    with running(command, lambda: answers(f"{url}/-/ready")):
        yield url


def _host(url: str) -> str:
    return url.removeprefix("http://")


def _scrapes_all(server: Prometheus) -> bool:
    try:
        up = server.ask("up")
    except (httpx.TransportError, ValueError):
        return False
    return bool(up) and all(each.value for each in up)
