"""Where a retraining runs: here, in a workflow of GitHub, or as a Job of Kubernetes.

A runner that only asks others does not know what comes of it. What they refuse is told without the
token.
"""

import asyncio
import os
import re
import signal
import ssl
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

import httpx
from pydantic import AwareDatetime, BaseModel, ValidationError

from ..errors import UserError
from ..programs import end_with_parent
from ..settings import PREFIX, SettingsError
from ..training import RETRAINING
from .record import Outcome

COMMAND = (sys.executable, "-m", "ml_chassis", "retrain")
STOP_SECONDS = 30
"""In which a retraining that is told to end may do so, until it is killed."""
ASK_SECONDS = 30
TOKEN = re.compile("[!-~]+")
"""With any other character it would be no header, or a second one."""
HOST = r"https://(?:[\w.-]+|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?"
GITHUB = re.compile(rf"{HOST}(/api/v3)?/repos/[\w.-]+/[\w.-]+/dispatches")
KUBERNETES = re.compile(
    rf"({HOST}(?:/[^\s?#@]+)?/apis/batch/v1/namespaces/([a-z0-9-]+))/cronjobs/([a-z0-9.-]+)"
)
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MANUAL = {"cronjob.kubernetes.io/instantiate": "manual"}
"""As `kubectl create job --from` does."""


class NotAskedError(UserError):
    """Others were not asked, or refused; the message says why."""


class End(NamedTuple):
    """What came of a retraining, and why."""

    outcome: Outcome
    reason: str


class Runner(Protocol):
    """Runs one retraining at a time; one that is cancelled leaves nothing running."""

    where: str
    """Where it runs, in words."""

    async def run(self, asked_by: str) -> End:
        """Run a retraining, or ask for it.

        Raises:
            NotAskedError: others refused it.
        """


def runner_of(url: str, hours: float) -> Runner:
    """Return what retrains at an address; "" is here.

    Args:
        url: The setting.
        hours: How long a retraining may take.

    Raises:
        SettingsError: there is no such place.
    """
    if not url:
        return Here(3_600 * hours)
    if GITHUB.fullmatch(url):
        return Repository(url)
    if found := KUBERNETES.fullmatch(url):
        return CronJob(3_600 * hours, *found.groups())
    raise SettingsError(
        f"{PREFIX}RETRAIN_URL: give https://api.github.com/repos/OWNER/NAME/dispatches, or "
        "https://kubernetes.default.svc/apis/batch/v1/namespaces/NAMESPACE/cronjobs/NAME, or none."
    )


# ---- here


class Here:
    """Runs `chassis retrain` as a process of its own session."""

    where = "here"

    def __init__(self, seconds: float) -> None:
        """Take how long it may take."""
        self._seconds = seconds

    async def run(self, asked_by: str) -> End:
        """Run it to its end, or for as long as it may take."""
        begun = datetime.now(UTC)
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            env={**os.environ, "WHO": asked_by},
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        try:
            code = await asyncio.wait_for(process.wait(), self._seconds)
        except TimeoutError:
            hours = self._seconds / 3_600
            return End("killed", f"it took longer than maximum_hours in training.toml, {hours:g}")
        finally:
            await _stop(process)
        return _told(code, asked_by, begun)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End a process, and what it has started, even where this is cancelled meanwhile."""
    try:
        await _signal(process, signal.SIGTERM)
    finally:
        await _signal(process, signal.SIGKILL)


async def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), STOP_SECONDS)


class _Result(BaseModel):
    """What is read of result.json; to import what writes it takes seconds."""

    outcome: Literal["promoted", "nothing_new", "refused", "failed"]
    reason: str
    who: str
    started_at: AwareDatetime


def _told(code: int, asked_by: str, begun: datetime) -> End:
    """Return what a process that ended says, unless the file is that of another retraining."""
    number = -code if code < 0 else code - 128
    if number in {signal.SIGTERM, signal.SIGKILL}:
        return End("killed", f"it was ended by {signal.Signals(number).name}, not by the retrainer")
    with suppress(OSError, ValidationError):
        text = (RETRAINING / "result.json").read_text(encoding="utf-8")
        found = _Result.model_validate_json(text)
        if found.who == asked_by and found.started_at >= begun:
            return End(found.outcome, found.reason)
    if code == 0:
        return End("declined", "another retraining runs, which no alert began")
    return End("failed", f"it ended with exit code {code}; its output says why")


# ---- GitHub


class Repository:
    """Asks GitHub to run the workflow `retrain`."""

    where = "in a workflow of GitHub"

    def __init__(self, url: str) -> None:
        """Take the address of its dispatches."""
        self._url = url

    async def run(self, asked_by: str) -> End:
        """Ask for it, with GITHUB_TOKEN."""
        interface = _Interface(os.environ.get("GITHUB_TOKEN", ""), "GITHUB_TOKEN")
        event = {"event_type": "retrain", "client_payload": {"by": asked_by}}
        await interface.ask("POST", self._url, event)
        return End("asked", f"{urlsplit(self._url).hostname} runs the workflow")


# ---- Kubernetes


class CronJob:
    """Makes a Job as a CronJob would, with the rights of this pod."""

    where = "as a Job of Kubernetes"

    def __init__(self, seconds: float, base: str, namespace: str, name: str) -> None:
        """Take how long a Job may take, and where the CronJob is."""
        self._base, self._namespace, self._name = base, namespace, name
        self._seconds = seconds

    async def run(self, asked_by: str) -> End:
        """Make the Job, unless one of the schedule runs."""
        try:
            token = (SERVICE_ACCOUNT / "token").read_text(encoding="ascii").strip()
            trusted = ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt"))
        except (OSError, ValueError) as error:
            raise NotAskedError(
                f"this is no pod with a service account: {SERVICE_ACCOUNT} cannot be read "
                f"({type(error).__name__})"
            ) from None
        interface = _Interface(token, f"{SERVICE_ACCOUNT}/token", trusted)
        found = await interface.ask("GET", f"{self._base}/cronjobs/{self._name}")
        if (found.get("status") or {}).get("active"):
            return End("declined", f"a Job of the CronJob {self._name} runs, which no alert began")
        job = self._job(found, asked_by)
        await interface.ask("POST", f"{self._base}/jobs", job)
        return End("asked", f"the Job {job['metadata']['name']} runs")

    def _job(self, cron_job: dict[str, Any], asked_by: str) -> dict[str, Any]:
        try:
            template = cron_job["spec"]["jobTemplate"]
            metadata, spec = template.get("metadata") or {}, template["spec"]
            owner = {"name": self._name, "uid": cron_job["metadata"]["uid"]}
            for container in spec["template"]["spec"]["containers"]:
                others = [each for each in container.get("env", []) if each["name"] != "WHO"]
                container["env"] = [*others, {"name": "WHO", "value": asked_by}]
        except (AttributeError, KeyError, TypeError):
            raise NotAskedError(f"the answer about {self._name} is no CronJob") from None
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": f"{self._name}-{time.time():.0f}",
                "namespace": self._namespace,
                "labels": metadata.get("labels", {}),
                "annotations": {**metadata.get("annotations", {}), **MANUAL},
                "ownerReferences": [
                    {"apiVersion": "batch/v1", "kind": "CronJob", "controller": True, **owner}
                ],
            },
            "spec": {"activeDeadlineSeconds": int(self._seconds), **spec},
        }


class _Interface:
    """An interface over HTTPS that takes a token."""

    def __init__(
        self, token: str, place: str, trusted: ssl.SSLContext | Literal[True] = True
    ) -> None:
        """Take the token, where it stands, and whose certificates are trusted.

        Raises:
            NotAskedError: there is no token, or it cannot be sent.
        """
        if not token:
            raise NotAskedError(f"there is no token: set {place}")
        if not TOKEN.fullmatch(token):
            raise NotAskedError(f"the token in {place} has a character that no token has")
        self._token, self._trusted = token, trusted

    async def ask(self, method: str, url: str, body: Any = None) -> dict[str, Any]:
        """Return what is answered, an object of JSON.

        Raises:
            NotAskedError: it is refused, or nothing is answered.
        """
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        host = urlsplit(url).hostname
        try:
            async with httpx.AsyncClient(verify=self._trusted, timeout=ASK_SECONDS) as client:
                answer = await client.request(method, url, json=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error).replace(self._token, "***")
            raise NotAskedError(f"{host}: {type(error).__name__}: {why}") from None
        content = _content(answer)
        if answer.is_success:
            return content
        said = str(content.get("message", ""))[:200].replace(self._token, "***")
        raise NotAskedError(f"{host} answered {answer.status_code}: {said or 'it says no more'}")


def _content(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
