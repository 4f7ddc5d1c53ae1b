"""Start a project's service as a person would, talk to it over HTTP, and stop it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from ml_chassis.programs import free_port

START_SECONDS = 90
STOP_SECONDS = 15


@dataclass(frozen=True)
class Answer:
    """Status and body of a response; the body is parsed where it is JSON."""

    status: int
    body: Any


@dataclass(frozen=True)
class Service:
    """A service that somebody runs, by its address: host:port."""

    address: str

    def get(self, path: str) -> Answer:
        """Ask for a page."""
        return self._call("GET", path)

    def predict(self, rows: list[dict[str, Any]]) -> Answer:
        """Ask for the prediction of some rows."""
        return self.post("/predict", {"rows": rows})

    def post(self, path: str, body: Any) -> Answer:
        """Send JSON."""
        return self._call("POST", path, json.dumps(body))

    def example_row(self) -> dict[str, Any]:
        """Return the row that the service's own documentation gives as an example."""
        request = self.get("/docs.json").body["paths"]["/predict"]["post"]["requestBody"]
        row: dict[str, Any] = request["content"]["application/json"]["example"]["rows"][0]
        return row

    def is_ready(self) -> bool:
        """Return whether the service wants requests."""
        try:
            return self.get("/readyz").status == 200
        except OSError:
            return False

    def _call(self, method: str, path: str, body: str | None = None) -> Answer:
        connection = HTTPConnection(self.address, timeout=10)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return Answer(response.status, _parsed(response.read()))
        except HTTPException as error:  # a server that is just starting or stopping
            raise ConnectionError(repr(error)) from error
        finally:
            connection.close()


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


@dataclass(frozen=True)
class Running:
    """A service that `make serve` runs, and what is left of it after it was stopped."""

    service: Service
    process: subprocess.Popen[bytes]
    project: Path

    def stop(self) -> float:
        """Stop it as a supervisor does, and return the seconds that it took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_SECONDS)
        return time.monotonic() - begin

    def kill(self) -> None:
        """End whatever is left, also what a supervisor starts again meanwhile."""
        while left := self.processes():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
        self.process.wait(STOP_SECONDS)

    def processes(self) -> list[int]:
        """Return the processes that work in the project's folder.

        BentoML starts its workers in sessions of their own, so neither the session nor, once their
        parent is gone, the parent tells that they belong to the service.
        """
        return [pid for pid in _pids() if _working_directory(pid) == self.project]


@contextmanager
def make_serve(project: Path, env: Mapping[str, str]) -> Iterator[Running]:
    """Run `make serve` on a free port and yield it once it is ready.

    Raises:
        RuntimeError: it does not become ready; the message holds its log.
    """
    port = free_port()
    with serve(["make", "serve"], project, {**env, "PORT": str(port)}, port) as running:
        yield running


@contextmanager
def serve(
    command: Sequence[str | Path], folder: Path, env: Mapping[str, str], port: int
) -> Iterator[Running]:
    """Run a command that serves on a port, in a folder, and yield it once it is ready.

    Raises:
        RuntimeError: it does not become ready; the message holds its log.
    """
    log = folder.parent / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=output, stderr=output, start_new_session=True
        )
    running = Running(Service(f"127.0.0.1:{port}"), process, folder.resolve())
    try:
        _wait_until_ready(running, log)
        yield running
    finally:
        running.kill()


def _wait_until_ready(running: Running, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not running.service.is_ready():
        if running.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the service is not ready:\n{log.read_text()}")
        time.sleep(0.2)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _working_directory(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:  # it has ended, or it is a zombie
        return None
