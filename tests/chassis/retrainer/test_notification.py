"""Of what Alertmanager tells, alerts that fire and have the label ask for a retraining."""

import json
from typing import Any

import pytest

from ml_chassis.retrainer.notification import BadNotificationError, asked_by, read


def alert(name: str = "Drift", status: str = "firing", **labels: str) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": name, "retrain": "yes", **labels},
        "annotations": {"summary": "It has drifted."},
        "startsAt": "2026-01-01T00:00:00Z",
    }


def told(*alerts: dict[str, Any], job: str = "flights") -> str:
    body = {"version": "4", "receiver": "retrain", "status": "firing", "alerts": alerts}
    return asked_by(read(json.dumps(body).encode()), job)


@pytest.mark.parametrize(
    ("alerts", "asked"),
    [
        ([], ""),
        ([alert()], "alert Drift"),
        ([alert(), alert(), alert("Age")], "alert Age, Drift"),
        ([alert(status="resolved")], ""),
        ([alert(retrain="no")], ""),
        ([alert(job="flights")], "alert Drift"),
        ([alert(job="another"), alert("Age", job="flights")], "alert Age"),
        ([alert("$(SECRET) `x`")], "alert ??SECRET? ?x?"),
        ([alert("\x00Drift\n“µ”")], "alert ?Drift????"),
        ([alert("x" * 999)], f"alert {'x' * 100}"),
        ([alert(str(at)) for at in range(9)], "alert 0, 1, 2, 3, 4, others"),
    ],
)
def test_who_asks(alerts: list[dict[str, Any]], asked: str) -> None:
    assert told(*alerts) == asked


def test_an_alert_without_a_name_asks_too() -> None:
    nameless = alert()
    del nameless["labels"]["alertname"]
    assert told(nameless) == "alert without a name"


def test_without_a_job_all_are_its_own() -> None:
    assert told(alert(job="another"), job="") == "alert Drift"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "Invalid JSON"),
        (b"\xff", 400, "Invalid JSON"),
        (b"[]", 422, "should be an object"),
        (b'{"version": "3", "alerts": []}', 422, "version: Input should be '4'"),
        (b'{"version": "4"}', 422, "alerts: Field required"),
        (b'{"version": "4", "alerts": [{"status": "on", "labels": {}}]}', 422, "alerts.0.status"),
        (
            b'{"version": "4", "alerts": [{"status": "firing", "labels": {"a": 1}}]}',
            422,
            "labels.a",
        ),
    ],
)
def test_what_is_none_is_refused_with_its_place(body: bytes, status: int, message: str) -> None:
    with pytest.raises(BadNotificationError) as refused:
        read(body)
    assert refused.value.status == status
    assert message in str(refused.value)
