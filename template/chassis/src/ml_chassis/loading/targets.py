"""What is loaded: a service started for it, an image under its limits, or some address."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

from ..errors import UserError
from ..programs import LOCAL, ProgramError, answers, end, free_port, start
from ..settings import PREFIX

COMPOSE, SERVICE = Path("deploy/compose.yaml"), "service"
START_SECONDS, STOP_SECONDS = 90, 30
LOOK_SECONDS = 0.5
MIB = {"B": 1 / 2**20, "KiB": 1 / 2**10, "MiB": 1, "GiB": 2**10}


class Usage(NamedTuple):
    """What a service used at a moment: MiB of memory, and cores since the last look."""

    at: float
    memory_mib: float
    cpu_cores: float


@dataclass(frozen=True)
class Target:
    """A running service."""

    url: str
    name: str
    workers: int
    look: Callable[[], Iterator[Usage]] | None = None
    """Looks at all its processes until they end; None where they cannot be seen from here."""
    was_killed: Callable[[], bool] = lambda: False
    """Tells whether the kernel ended a process of it that took too much memory."""


@contextmanager
def started_service(workers: int, log: Path) -> Iterator[Target]:
    """Start the service as `make serve` does, on a free port; what it says goes to `log`.

    Raises:
        UserError: it does not start; the message is what it said.
    """
    port = free_port()
    url = f"http://{LOCAL}:{port}"
    settings = {"HOST": LOCAL, "PORT": str(port), "DRAIN_SECONDS": "0"}
    environment = {f"MODEL_SERVICE_{name}": value for name, value in settings.items()}
    with tempfile.TemporaryDirectory(prefix="load-") as home:
        try:
            process = start(
                [sys.executable, "-m", "ml_chassis", "serve"],
                lambda: answers(f"{url}/readyz"),
                seconds=START_SECONDS,
                log=log,
                environment={**environment, "BENTOML_HOME": home},
            )
        except ProgramError:
            said = log.read_text(encoding="utf-8", errors="replace")
            raise UserError(f"The service does not become ready.\n{said}".strip()) from None
        try:
            yield Target(url, "the service of this folder", workers, partial(_look_at, process.pid))
        finally:
            end(process, STOP_SECONDS)


@contextmanager
def started_image(image: str, log: Path) -> Iterator[Target]:
    """Start an image with the limits of deploy/compose.yaml; what it says goes to `log`.

    Raises:
        UserError: it does not start; the message is what Docker said.
    """
    port = free_port()
    environment = {**os.environ, "IMAGE": image}
    project, since = f"load-{port}", time.time()
    compose = ("docker", "compose", f"--project-name={project}", f"--file={COMPOSE}", "--file=-")
    # Alone, and not behind the gateway.
    published = json.dumps({"services": {SERVICE: {"ports": [f"{LOCAL}:{port}:3000"]}}})

    def run(*command: str) -> str:
        try:
            done = subprocess.run(
                command,
                input=published,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            raise UserError("Docker is not installed.") from None
        if done.returncode:
            raise UserError((done.stderr or done.stdout).strip().splitlines()[-1])
        return done.stdout.strip()

    def was_killed() -> bool:
        ours = f"label=com.docker.compose.project={project}"
        filters = ("--filter=event=oom", f"--filter={ours}", f"--since={since:.3f}")
        return bool(run("docker", "events", *filters, f"--until={time.time():.3f}"))

    def save_log() -> None:
        said = run(*compose, "logs", "--no-log-prefix")
        log.write_text(said.replace("\x1b[2K", ""), encoding="utf-8")  # it erases lines, unasked

    def start() -> str:
        try:
            run(*compose, "up", "--wait", f"--wait-timeout={START_SECONDS}", SERVICE)
        except UserError as error:
            why = f" It ran out of memory: see {COMPOSE}." if was_killed() else ""
            raise UserError(f"{image}: {error}.{why} What it said is in {log}.") from None
        return run(*compose, "ps", "--quiet")

    run("docker", "version")
    with ExitStack() as at_the_end:
        at_the_end.callback(run, *compose, "down", "--volumes")
        at_the_end.callback(save_log)
        container = start()
        workers = run("docker", "exec", container, "sh", "-c", "echo ${MODEL_SERVICE_WORKERS:-1}")
        stats = subprocess.Popen(
            ["docker", "stats", "--format={{.MemUsage}} {{.CPUPerc}}", container],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        at_the_end.enter_context(stats)
        at_the_end.callback(stats.terminate)
        url = f"http://{LOCAL}:{port}"
        yield Target(url, image, int(workers), partial(_read, stats), was_killed)


@contextmanager
def running_service(url: str, keys: Sequence[str]) -> Iterator[Target]:
    """Take a service that somebody runs, with as many workers as it says it has.

    Raises:
        UserError: there is none.
    """
    headers = {"Authorization": f"Bearer {keys[0]}"} if keys else {}
    try:
        # Without a proxy, as the load is sent.
        answer = httpx.get(url, headers=headers, timeout=START_SECONDS, trust_env=False)
        if answer.status_code == 401:
            raise UserError(f"{url} wants a key: it is read from {PREFIX}API_KEYS here, too.")
        answer.raise_for_status()
        workers = int(answer.json()["workers"])
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError(f"No service at {url}: {error}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"No service at {url}: another one answers.") from None
    yield Target(url.rstrip("/"), url, workers)


def _look_at(pid: int) -> Iterator[Usage]:
    """Sum up a process and its descendants until it ends."""
    at, used = time.monotonic(), 0.0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        while root.status() != psutil.STATUS_ZOMBIE:
            before, used_before = at, used
            at, memory, used = time.monotonic(), 0.0, 0.0
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    memory += _memory(process)
                    used += sum(process.cpu_times()[:4])  # its own, and of children that ended
            if used_before:
                yield Usage(at, memory / 2**20, max(0.0, used - used_before) / (at - before))
            time.sleep(LOOK_SECONDS)


def _memory(process: psutil.Process) -> float:
    """Return bytes; what processes share is divided among them where the system can tell."""
    usage = process.memory_full_info()
    return float(getattr(usage, "pss", usage.rss))


def _read(stats: subprocess.Popen[str]) -> Iterator[Usage]:
    """Read what Docker says of a container, about once a second."""
    with suppress(ValueError):  # it is closed at the end
        for line in stats.stdout or ():
            if found := re.search(r"([\d.]+)([KMG]?i?B) / \S+ ([\d.]+)%", line):
                memory = float(found[1]) * MIB[found[2]]
                yield Usage(time.monotonic(), memory, float(found[3]) / 100)
