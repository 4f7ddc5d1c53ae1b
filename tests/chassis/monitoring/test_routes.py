"""Each alert reaches those that it is for, by Alertmanager and its own tool."""

import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from chassis.monitoring.webhook import ALERTMANAGER, configuration, running_webhook
from ml_chassis import slo
from ml_chassis.monitoring import rules
from ml_chassis.monitoring.rules.rule import RETRAIN, SEVERITIES
from ml_chassis.settings import SHADOW, Settings
from prometheus import running_alertmanager, tool
from render.engines import ROOT
from waiting import wait_for

ALERTS: list[dict[str, str]] = [
    {"alertname": rule["alert"], "job": "flight-delays", "track": "stable", **rule["labels"]}
    for rule in rules.rules(slo.read())["groups"][-1]["rules"]
]
ASKS = [each for each in ALERTS if each.items() >= RETRAIN.items()]


def amtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [tool("amtool"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def receivers(alert: dict[str, str], path: Path = ALERTMANAGER) -> str:
    """Return who is told of an alert."""
    labels = (f"{name}={value}" for name, value in alert.items())
    return amtool("config", "routes", "test", f"--config.file={path}", *labels).stdout.strip()


def test_alertmanager_accepts_the_file(tmp_path: Path) -> None:
    done = amtool("check-config", ALERTMANAGER)
    assert done.returncode == 0, done.stdout + done.stderr
    spoilt = tmp_path / "alertmanager.yaml"
    spoilt.write_text(ALERTMANAGER.read_text().replace("- receiver: page", "- receiver: pager"))
    assert amtool("check-config", spoilt).returncode != 0


@pytest.mark.parametrize(
    "alert", ALERTS, ids=lambda each: f"{each['alertname']}-{each['severity']}"
)
def test_each_alert_is_told_to_people_and_some_to_the_retrainer(alert: dict[str, str]) -> None:
    told = [alert["severity"]]
    assert receivers(alert) == ",".join(["retrain", *told] if alert in ASKS else told)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda each: each["alertname"])
def test_nobody_is_told_of_a_shadow(alert: dict[str, str]) -> None:
    assert receivers({**alert, "track": SHADOW}) == "nobody"


def test_the_commands_of_the_page_work() -> None:
    page = (ROOT / "template/chassis/docs/alerts.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    done = subprocess.run(["sh", "-ec", commands], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (said,) = re.findall(r"prints `(.*)`", page)
    assert done.stdout.splitlines()[-1] == said


def test_every_kind_of_alert_is_there() -> None:
    assert {each["severity"] for each in ALERTS} == {*SEVERITIES}
    assert 0 < len(ASKS) < len(ALERTS)


def test_an_alert_of_somebody_else_is_a_ticket() -> None:
    assert receivers({"alertname": "DiskFull"}) == "ticket"


def test_the_retrainer_is_told_where_it_listens() -> None:
    found = yaml.safe_load(ALERTMANAGER.read_text(encoding="utf-8"))
    (webhook,) = (each for each in found["receivers"] if each["name"] == "retrain")
    (told,) = webhook["webhook_configs"]
    assert told["url"] == f"http://localhost:{Settings().retrainer_port}/alerts"


@pytest.mark.slow
def test_a_page_keeps_back_the_ticket_about_the_same(tmp_path: Path) -> None:
    with (
        running_webhook() as webhook,
        running_alertmanager(tmp_path, configuration(webhook.url)) as alertmanager,
    ):
        both = {each["alertname"] for each in ALERTS if each["severity"] == "page"}
        tell(alertmanager, *(each for each in ALERTS if each["severity"] == "page"))
        wait_for(lambda: webhook.told("page") == both)
        canary = {"alertname": "ModelServiceErrors", "severity": "ticket", "track": "canary"}
        tell(alertmanager, *ALERTS, {"job": "flight-delays", **canary})
        tickets = {each["alertname"] for each in ALERTS if each["severity"] == "ticket"}
        wait_for(lambda: webhook.told("ticket") >= tickets - both | {"ModelServiceErrors"})
        asks = {each["alertname"] for each in ASKS}
        wait_for(lambda: webhook.told("retrain") == asks)

    assert webhook.told("page") == both
    errors = [
        labels["track"]
        for name, _, labels in webhook.alerts
        if name == "ticket" and labels["alertname"] == "ModelServiceErrors"
    ]
    assert {*errors} == {"canary"}
    assert webhook.told("ticket") & both == {"ModelServiceErrors"}


def tell(alertmanager: str, *alerts: dict[str, Any]) -> None:
    """Tell Alertmanager that these fire."""
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = [{"labels": each, "endsAt": ends} for each in alerts]
    url = f"{alertmanager}/api/v2/alerts"
    httpx.post(url, json=body, trust_env=False).raise_for_status()
