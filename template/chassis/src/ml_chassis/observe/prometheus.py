"""Questions to Prometheus, and its answers."""

from typing import Any, NamedTuple

import httpx

from ..errors import UserError

SECONDS = 10


class PrometheusError(UserError):
    """Prometheus does not answer, or does not understand."""


class Sample(NamedTuple):
    """A value of a series."""

    labels: dict[str, str]
    value: float


class Series(NamedTuple):
    """The values of a series.

    Attributes:
        labels: What it is about.
        points: Unix time in seconds, and value.
    """

    labels: dict[str, str]
    points: list[tuple[float, float]]


class Alert(NamedTuple):
    """An alert that is pending or fires.

    Attributes:
        name: How it is called, as its section of the runbook is.
        severity: Whether somebody is woken.
        fires: Whether somebody is told; else it must last a while before.
        since: When its condition began to hold: date and time, in UTC.
        summary: What is told.
    """

    name: str
    severity: str
    fires: bool
    since: str
    summary: str


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
                each["labels"]["alertname"],
                each["labels"].get("severity", ""),
                each["state"] == "firing",
                each["activeAt"][:19].replace("T", " "),
                each["annotations"].get("summary", ""),
            )
            for each in self._get("alerts")["alerts"]
        ]
        return sorted(found, key=lambda each: (not each.fires, each.severity, *each))

    def _get(self, path: str, **parameters: str) -> Any:
        try:
            answer = self._client.get(f"/api/v1/{path}", params=parameters).json()
            if answer["status"] == "success":
                return answer["data"]
            raise PrometheusError(f"{parameters.get('query', path)}: {answer['error']}")
        except httpx.TransportError as error:
            raise PrometheusError(f"Prometheus does not answer: {error}") from None
        except (ValueError, LookupError, TypeError):
            raise PrometheusError(f"{self.url}: this is not Prometheus.") from None
