"""Start a server, check its answers, and measure it under one load."""

import json
import resource
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import fmean
from typing import Any

from . import processes
from .build import BUILD, HERE, MODEL, PROJECT, environment
from .contestants import Contestant, Format, Load
from .report import Slice

START_SECONDS = 60
POLL_SECONDS = 0.02
WARM_UP_SECONDS = 1  # wrk takes whole seconds
SETTLE_SECONDS = 20
TOLERANCE = 1e-4
CHECKED = 110  # requests: more than there are of the large ones
MEDIA: dict[Format, str] = {
    "JSON": "application/json",
    "Arrow": "application/vnd.apache.arrow.stream",
}


class BenchmarkError(Exception):
    """A server does not start or answers otherwise than the others; nothing can be compared."""


@dataclass(frozen=True)
class Server:
    """A contestant that runs."""

    name: str
    contestant: Contestant
    process: subprocess.Popen[bytes]
    port: int
    cold_start: float  # seconds from the start of the process to the first prediction


@contextmanager
def start(name: str, contestant: Contestant, folder: Path) -> Iterator[Server]:
    """Start a server with the environment in a folder, yield it once it answers, and end it.

    Raises:
        BenchmarkError: it does not answer.
    """
    home = BUILD / "run" / name
    home.mkdir(parents=True, exist_ok=True)
    places: dict[str, Any] = {"home": home, "port": free_port()}
    places |= {"port2": free_port(), "port3": free_port()}
    settings = {key: value.format(**places) for key, value in contestant.settings.items()}
    begin = time.perf_counter()
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [part.format(**places) for part in contestant.command],
            cwd=PROJECT if contestant.environment == "project" else HERE / "servers",
            env=environment(
                folder / "bin",
                BENCHMARK_MODEL=str(MODEL),
                BENTOML_DO_NOT_TRACK="True",
                BENTOML_HOME=str(home),
                ORT_DISABLE_TELEMETRY="1",
                **settings,
            ),
            stdout=log,
            stderr=log,
        )
    try:
        wait_for_prediction(contestant, process, places["port"], home / "log")
        yield Server(name, contestant, process, places["port"], time.perf_counter() - begin)
    finally:
        processes.stop(process)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_prediction(
    contestant: Contestant, process: subprocess.Popen[bytes], port: int, log: Path
) -> None:
    """Ask for a prediction until there is one.

    Raises:
        BenchmarkError: there is none in time, or the server has ended.
    """
    body = bodies(contestant, Load(1, 1))[0]
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        try:
            if post(connection, contestant.path, body, "JSON")[0] == 200:
                return
        except (OSError, HTTPException):
            pass  # not yet
        finally:
            connection.close()
        time.sleep(POLL_SECONDS)
    raise BenchmarkError(f"{contestant.title} does not start:\n{log.read_text()[-2000:]}")


def payload(contestant: Contestant, load: Load) -> Path:
    """Return the file of requests, one in a line and in hexadecimal digits."""
    return MODEL / f"{contestant.payload}-{load.rows}-{load.format}"


def bodies(contestant: Contestant, load: Load) -> list[bytes]:
    """Return the requests."""
    return _read(payload(contestant, load))


@cache
def _read(path: Path) -> list[bytes]:
    return [bytes.fromhex(line) for line in path.read_text().splitlines()]


def post(connection: HTTPConnection, path: str, body: bytes, format_: Format) -> tuple[int, bytes]:
    """Return status and body of the answer, which is in JSON."""
    connection.request("POST", path, body, {"Content-Type": MEDIA[format_]})
    response = connection.getresponse()
    return response.status, response.read()


def check_answers(server: Server, load: Load) -> None:
    """Make sure that a server answers as the others do.

    Raises:
        BenchmarkError: it does not.
    """
    expected = iter(json.loads((MODEL / "expected.json").read_text()))
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    for body in bodies(server.contestant, load)[:CHECKED]:
        status, answer = post(connection, server.contestant.path, body, load.format)
        if status != 200:
            raise BenchmarkError(f"{server.contestant.title} answers {status}: {answer[:500]!r}")
        for value in predictions(answer):
            if abs(value - (right := next(expected))) > TOLERANCE:
                raise BenchmarkError(f"{server.contestant.title} answers {value}, not {right}.")
    connection.close()


def predictions(answer: bytes) -> list[float]:
    """Return the probabilities in an answer, in either of the two formats."""
    content = json.loads(answer)
    values: list[float] = (
        content["outputs"][0]["data"] if "outputs" in content else content["predictions"]
    )
    return values


def measure(server: Server, load: Load, seconds: int, turn: int) -> Slice:
    """Return what one slice of load shows; the server is idle before and after.

    Raises:
        BenchmarkError: the server takes no connections.
    """
    generate(server, load, WARM_UP_SECONDS)
    settle(server)
    degraded, root = count_degraded(server), server.process.pid
    cpu = processes.cpu_seconds(root)
    machine, generator = processes.machine_cpu_seconds(), _children_cpu_seconds()
    seen = generate(server, load, seconds)
    generator = _children_cpu_seconds() - generator
    machine = processes.machine_cpu_seconds() - machine
    cpu = processes.cpu_seconds(root) - cpu
    settle(server)
    return Slice(
        server=server.name,
        rows=load.rows,
        clients=load.clients,
        format=load.format,
        round=turn,
        requests=seen["requests"],
        requests_per_second=round(seen["requests"] / seen["seconds"], 2),
        p50_ms=seen["p50_ms"],
        p99_ms=seen["p99_ms"],
        errors=seen["errors"] + count_degraded(server) - degraded,
        cpu_us=round(1e6 * cpu / max(seen["requests"], 1), 2),
        request_bytes=round(fmean(len(body) for body in bodies(server.contestant, load))),
        generator_cores=round(generator / seen["seconds"], 3),
        other_cores=round(max(machine - cpu - generator, 0) / seen["seconds"], 3),
    )


def generate(server: Server, load: Load, seconds: int) -> dict[str, Any]:
    """Run wrk and return what post.lua prints.

    Raises:
        BenchmarkError: the server takes no connections.
    """
    command = [
        *("wrk", "--threads=1", f"--connections={load.clients}", f"--duration={seconds}s"),
        *("--timeout=60s", f"--script={HERE / 'post.lua'}"),
        *(f"http://127.0.0.1:{server.port}{server.contestant.path}", "--"),
        *(str(payload(server.contestant, load)), MEDIA[load.format]),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"{server.contestant.title} does not answer any more: {done.stderr}")
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def settle(server: Server) -> None:
    """Wait until a server has done what clients who left have asked for."""
    give_up = time.monotonic() + SETTLE_SECONDS
    before = processes.cpu_seconds(server.process.pid)
    while time.monotonic() < give_up:
        time.sleep(0.2)
        now = processes.cpu_seconds(server.process.pid)
        if now - before < 0.03:
            return
        before = now


def count_degraded(server: Server) -> int:
    """Return the answers of our service so far that were not the model's, though they were 200."""
    if server.contestant.role != "ours":
        return 0
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    name = "model_service_degraded_predictions_total{"
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith(name))


def _children_cpu_seconds() -> float:
    """Return the CPU time of the processes that have ended: in a slice, of wrk."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
