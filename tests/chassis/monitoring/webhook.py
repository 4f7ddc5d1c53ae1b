"""Whom Alertmanager tells: it keeps what it was told."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ml_chassis.monitoring.files import FOLDER
from ml_chassis.observe.demo.quicker import routes
from servers import Handler, running_server

ALERTMANAGER = FOLDER / "alertmanager.yaml"


class Webhook:
    """An address for each receiver, and the alerts that each was told."""

    def __init__(self, url: str) -> None:
        """Take its address."""
        self.url = url
        self.alerts: list[tuple[str, str, dict[str, str]]] = []
        """Receiver, status and labels."""

    def told(self, receiver: str, status: str = "firing") -> set[str]:
        """Return the names of alerts that a receiver was told."""
        return {
            labels["alertname"]
            for name, became, labels in self.alerts
            if (name, became) == (receiver, status)
        }


@contextmanager
def running_webhook() -> Iterator[Webhook]:
    """Run one."""

    class Taking(Handler):
        def do_POST(self) -> None:
            told = json.loads(self.body())
            for each in told["alerts"]:
                found.alerts.append((self.path.strip("/"), each["status"], each["labels"]))
            self.answer()

    with running_server(Taking) as url:
        found = Webhook(url)
        yield found


def configuration(url: str) -> dict[str, Any]:
    """Return that of the project, which tells this address, and at once."""
    found = yaml.safe_load(Path(ALERTMANAGER).read_text(encoding="utf-8"))
    return routes(found, url, f"{url}/retrain")
