"""A real Prometheus on this machine, and its own tools."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ml_chassis.observe import prometheus, servers
from ml_chassis.observe.prometheus import PrometheusError
from ml_chassis.programs import LOCAL, answers, free_port, running
from waiting import wait_for


class Prometheus(prometheus.Prometheus):
    """A server that scrapes every second."""

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


@contextmanager
def running_prometheus(
    folder: Path, targets: Mapping[str, Sequence[str]], rules: dict[str, Any] | None = None
) -> Iterator[Prometheus]:
    """Run a server that scrapes each target every second: addresses, by the name of their job.

    Args:
        folder: Takes its files.
        targets: What is scraped.
        rules: What it evaluates.
    """
    tool("prometheus")
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(rules or {}, sort_keys=False))
    with servers.running_prometheus(folder, targets, path, seconds=1) as url:
        found = Prometheus(url)
        wait_for(lambda: _scrapes_all(found), "all targets are scraped")
        yield found


@contextmanager
def running_configured(folder: Path, configuration: dict[str, Any]) -> Iterator[Prometheus]:
    """Run a server with a configuration of its own.

    Args:
        folder: Takes its files.
        configuration: As Prometheus reads it.
    """
    path, address = folder / "prometheus.yml", f"{LOCAL}:{free_port()}"
    path.write_text(yaml.safe_dump(configuration, sort_keys=False))
    command = [
        *(tool("prometheus"), f"--config.file={path}", f"--web.listen-address={address}"),
        *(f"--storage.tsdb.path={folder}/prometheus", "--log.level=warn"),
    ]
    url = f"http://{address}"
    with running(command, lambda: answers(f"{url}{servers.READY}"), log=folder / "prometheus.log"):
        yield Prometheus(url)


@contextmanager
def running_alertmanager(folder: Path, configuration: dict[str, Any]) -> Iterator[str]:
    """Run Alertmanager on this machine alone; yield its address."""
    tool("prometheus-alertmanager")
    with servers.running_alertmanager(folder, configuration, free_port()) as url:
        yield url


def _scrapes_all(server: Prometheus) -> bool:
    try:
        up = server.ask("up")
    except PrometheusError:
        return False
    return bool(up) and all(each.value for each in up)
