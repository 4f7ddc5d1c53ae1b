"""Questions to Prometheus, and its answers."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx

from ..errors import UserError

SECONDS = 5


class PrometheusError(UserError):
    """Prometheus does not answer."""


class QueryError(PrometheusError):
    """Prometheus does not understand, or gives up."""


class Sample(NamedTuple):
    """A value of a series."""

    labels: dict[str, str]
    value: float


Points = Sequence[tuple[float, float]]
"""Unix times in seconds, and values."""


class Series(NamedTuple):
    """The values of a series, and what it is about."""

    labels: dict[str, str]
    points: Points


class Alert(NamedTuple):
    """An alert that is pending or fires.

    Attributes:
        fires: Whether somebody is told; else it must last a while before.
        severity: Whether somebody is woken.
        name: How it is called, as its section of the runbook is.
        since: When its condition began to hold: date and time, in UTC.
        summary: What is told.
        labels: What it is about.
    """

    fires: bool
    severity: str
    name: str
    since: str
    summary: str
    labels: Mapping[str, str] = MappingProxyType({})


class Prometheus:
    """A server, by its HTTP interface."""

    def __init__(self, url: str) -> None:
        """Take its address."""
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=SECONDS, trust_env=False)

    def ask(self, expr: str, at: float | None = None) -> list[Sample]:
        """Return the samples of an expression, now or at a Unix time in seconds.

        Raises:
            PrometheusError: it is none, or there is no answer.
        """
        when = {} if at is None else {"time": f"{at:.3f}"}
        found = self._get("query", query=expr, **when)["result"]
        return [Sample(each["metric"], float(each["value"][1])) for each in found]

    def ask_range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """Return the values of an expression between two Unix times, each `step` seconds.

        Raises:
            PrometheusError: as for `ask`.
        """
        when = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        return [
            Series(each["metric"], [(float(at), float(value)) for at, value in each["values"]])
            for each in self._get("query_range", query=expr, **when)["result"]
        ]

    def alerts(self) -> list[Alert]:
        """Return what is pending or fires, pages first.

        Raises:
            PrometheusError: there is no answer.
        """
        found = [
            Alert(
                each["state"] == "firing",
                each["labels"].get("severity", ""),
                each["labels"]["alertname"],
                each["activeAt"][:19].replace("T", " "),
                each["annotations"].get("summary", ""),
                each["labels"],
            )
            for each in self._get("alerts")["alerts"]
        ]
        return sorted(found, key=lambda each: (not each.fires, *each[1:5]))

    def problems(self, job: str) -> dict[str, str]:
        """Return why targets of a job are not scraped, by their addresses; "" is not yet.

        Raises:
            PrometheusError: there is no answer.
        """
        return {
            each["scrapeUrl"]: each["lastError"]
            for each in self._get("targets", state="active")["activeTargets"]
            if each["labels"]["job"] == job and each["health"] != "up"
        }

    def _get(self, path: str, **parameters: str) -> Any:
        try:
            answer = self._client.get(f"/api/v1/{path}", params=parameters).json()
            if answer["status"] == "success":
                return answer["data"]
            raise QueryError(f"{parameters.get('query', path)}: {answer['error']}")
        except httpx.TransportError as error:
            raise PrometheusError(f"Prometheus does not answer: {error}") from None
        except (ValueError, LookupError, TypeError):
            raise PrometheusError(f"{self.url}: this is not Prometheus.") from None
