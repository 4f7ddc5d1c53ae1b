"""Runs to an MLflow server, where there is one, by its REST interface.

Its own client would bring 29 packages, and waits for minutes for a server that is down.
https://mlflow.org/docs/latest/api_reference/rest-api.html
"""

import sys
from datetime import UTC
from typing import Any

import httpx
import stamina

from .log import Run

API = "api/2.0/mlflow"
SECONDS = httpx.Timeout(10, connect=3)
ATTEMPTS = 3
BUSY = {429, 503}
LONGEST = 500
LONGEST_REASON = 200
"""Characters of a value; older servers take no more."""


class Tracker:
    """Sends runs; a server that failed is not asked again, so that it holds nobody up."""

    def __init__(self, url: str, experiment: str) -> None:
        """Take the address, which may hold a user and a password, and a name for the runs."""
        self._name = experiment
        self._url = f"{url.rstrip('/')}/{API}"
        self._failed = False
        self._experiment = ""

    def send(self, run: Run) -> None:
        """Send a run; if that fails, say so: the run itself did not fail."""
        if self._failed:
            return
        try:
            with httpx.Client(base_url=self._url, timeout=SECONDS) as client:
                self._experiment = self._experiment or _experiment(client, self._name)
                _send(client, self._experiment, run)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
            self._failed = True
            print(
                f"MLflow did not take the run, and is not asked again: {_why(error)}.",
                file=sys.stderr,
            )


def _experiment(client: httpx.Client, name: str) -> str:
    """Return the identifier of the experiment of a name; make it first."""
    try:
        found = _call(client, "GET", "experiments/get-by-name", experiment_name=name)
    except httpx.HTTPStatusError as error:
        if error.response.status_code != 404:
            raise
        return str(_call(client, "POST", "experiments/create", name=name)["experiment_id"])
    return str(found["experiment"]["experiment_id"])


def _send(client: httpx.Client, experiment: str, run: Run) -> None:
    end = round(run.at.replace(tzinfo=UTC).timestamp() * 1_000)
    start = end - round(run.seconds * 1_000)
    facts = run.model_dump(include={"kind", "study", "outcome", "data_sha256", "schema_sha256"})
    facts |= run.model_dump(include={"config_sha256"}) | run.environment
    facts["mlflow.source.git.commit"] = run.code_version
    tags = _pairs(facts)
    begun = {"experiment_id": experiment, "run_name": run.name, "start_time": start, "tags": tags}
    identifier = _call(client, "POST", "runs/create", **begun)["run"]["info"]["run_id"]
    at = {"timestamp": end, "step": 0}
    metrics = [{"key": name, "value": value, **at} for name, value in run.measures.items()]
    params = _pairs(run.parameters)
    _call(client, "POST", "runs/log-batch", run_id=identifier, metrics=metrics, params=params)
    _call(client, "POST", "runs/update", run_id=identifier, status="FINISHED", end_time=end)


def _call(client: httpx.Client, method: str, path: str, **values: Any) -> dict[str, Any]:
    """Return the answer to a call; repeat what certainly was not done, so that no run is double."""
    read = method == "GET"
    for attempt in stamina.retry_context(on=_not_done, attempts=ATTEMPTS, timeout=None):
        with attempt:
            answer = client.request(
                method, path, params=values if read else None, json=None if read else values
            )
            answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _not_done(error: Exception) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in BUSY
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)


def _pairs(values: dict[str, Any]) -> list[dict[str, str]]:
    return [{"key": name, "value": str(value)[:LONGEST]} for name, value in values.items()]


def _why(error: Exception) -> str:
    """Return what happened, without the address, which may hold a password."""
    if not isinstance(error, httpx.HTTPStatusError):
        return type(error).__name__
    said = f"it answered {error.response.status_code}"
    try:
        reason = " ".join(error.response.json()["message"].split())[:LONGEST_REASON]
    except (ValueError, KeyError, TypeError, AttributeError):
        return said
    return f"{said}: {reason}"
