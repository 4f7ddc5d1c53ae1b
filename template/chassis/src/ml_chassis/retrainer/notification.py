"""What Alertmanager tells a webhook, in version 4 of its format."""

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ValidationError

from ..errors import describe
from ..monitoring.rules.rule import RETRAIN

UNUSUAL = re.compile(r"[^\w .:-]", re.ASCII)
"""A dollar, say, means something to Kubernetes and to a shell."""
LONGEST_NAME = 100
MOST_NAMES = 5
LONGEST_MESSAGE = 500


class BadNotificationError(Exception):
    """It is none; the message says why, and `status` how that is answered."""

    def __init__(self, status: int, message: str) -> None:
        """Take both."""
        super().__init__(message)
        self.status = status


class Alert(BaseModel):
    """One alert; what else is told of it is not read."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]


class Notification(BaseModel):
    """What became of some alerts."""

    version: Literal["4"]
    alerts: list[Alert]


def read(body: bytes) -> Notification:
    """Return what is told.

    Raises:
        BadNotificationError: that is no notification.
    """
    try:
        return Notification.model_validate_json(body)
    except ValidationError as error:
        is_json = error.errors(include_url=False)[0]["type"] != "json_invalid"
        message = describe(error)[:LONGEST_MESSAGE]
        raise BadNotificationError(422 if is_json else 400, f"{message}.") from None


def asked_by(told: Notification, job: str) -> str:
    """Return which alerts ask for a retraining, in words; "" where none does.

    Args:
        told: What Alertmanager tells.
        job: How Prometheus calls this service: other alerts are not its own. "" is any.
    """
    names = sorted({*_asking(told, job)})
    more = ["others"] if len(names) > MOST_NAMES else []
    return f"alert {', '.join([*names[:MOST_NAMES], *more])}" if names else ""


def _asking(told: Notification, job: str) -> Iterator[str]:
    """Yield names that can stand in a log, a page and an environment variable."""
    for each in told.alerts:
        of_job = each.labels.get("job", job) == job or not job
        if each.status == "firing" and of_job and each.labels.items() >= RETRAIN.items():
            yield UNUSUAL.sub("?", each.labels.get("alertname", "without a name"))[:LONGEST_NAME]
