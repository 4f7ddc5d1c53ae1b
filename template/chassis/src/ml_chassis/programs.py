"""Programs that run beside this one: a port for each, its start, when it is ready, its end."""

import ctypes
import errno
import fcntl
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import httpx

from .errors import UserError, why

LOCAL = "127.0.0.1"
EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - it is looked for, not listened on
PORTS = range(20_000, 32_000)
"""Below those that the system gives to clients, so that none of them gets one before its server."""
START_SECONDS, STOP_SECONDS = 120, 60
POLL_SECONDS = 0.1
LOOK_SECONDS = 5
LAST_LINES = 20
PR_SET_PDEATHSIG = 1
# Looked up before a process is copied, in which other threads may have held its locks.
PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


class ProgramError(UserError):
    """A program ended, or did not become ready."""


def free_port() -> int:
    """Return a port of this machine on which nobody listens."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((LOCAL, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port


def address(host: str, port: int) -> str:
    """Return how this machine asks what listens on an address."""
    known = LOCAL if host in EVERYWHERE else host
    return f"http://[{known}]:{port}" if ":" in known else f"http://{known}:{port}"


def answers(url: str) -> bool:
    """Return whether GET is answered with success."""
    try:
        return httpx.get(url, trust_env=False).is_success  # never through a proxy
    except httpx.TransportError:  # a timeout is such, too
        return False


def start(
    command: Sequence[str],
    is_ready: Callable[[], bool],
    *,
    seconds: float = START_SECONDS,
    log: Path | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] = {},
    apart: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program, and wait until it is ready; one that does not become so is ended.

    Args:
        command: Its name and arguments.
        is_ready: Says whether it is.
        seconds: How long that may take.
        log: Takes what it says; without one, that goes where this process writes.
        folder: In which it runs; without one, in that of this process.
        environment: More variables.
        apart: Whether what a terminal tells this process, as Ctrl-C, is not told to it.

    Raises:
        ProgramError: it cannot be started, ended, or is not ready in time; with a log, the message
            shows the last lines of it.
    """
    process = _begin(command, log, folder, environment, apart)
    try:
        _wait(process, command, is_ready, seconds, log)
    except BaseException:  # an interrupt must not leave it behind either
        end(process)
        raise
    return process


def end(process: subprocess.Popen[bytes], seconds: float = STOP_SECONDS) -> None:
    """Tell a program to end, and wait for so many seconds; kill it when it does not."""
    process.terminate()  # what is killed at once leaves its workers behind
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_with_parent() -> None:
    """Let the system end this process with the thread that started it, where it can: on Linux."""
    if PRCTL:
        PRCTL(PR_SET_PDEATHSIG, signal.SIGTERM)


def wait_until_told(look: Callable[[], None]) -> None:
    """Wait until this process is told to end.

    Args:
        look: Is called now and then; what it raises ends the waiting.
    """
    told = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    while not told.wait(LOOK_SECONDS):
        look()


@contextmanager
def only_one(lock: Path, what: str) -> Iterator[None]:
    """Keep other processes away until the block ends, or this process does.

    Args:
        lock: A file that is made for it.
        what: What a person who starts a second one is told, a sentence.

    Raises:
        UserError: another one is there.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(what) from None
        yield


@contextmanager
def running(
    command: Sequence[str],
    is_ready: Callable[[], bool],
    *,
    seconds: float = START_SECONDS,
    log: Path | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] = {},
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends; the block begins once it is ready. See `start`."""
    process = start(
        command, is_ready, seconds=seconds, log=log, folder=folder, environment=environment
    )
    try:
        yield process
    finally:
        end(process)


def _begin(
    command: Sequence[str],
    log: Path | None,
    folder: Path | None,
    environment: Mapping[str, str],
    apart: bool,
) -> subprocess.Popen[bytes]:
    variables = {**os.environ, **environment}
    with log.open("wb") if log else nullcontext() as said:
        try:
            return subprocess.Popen(
                command,
                cwd=folder,
                env=variables,
                stdout=said,
                stderr=said,
                preexec_fn=end_with_parent,
                start_new_session=apart,
            )
        except OSError as error:
            raise ProgramError(f"{shlex.join(command)} cannot be started: {why(error)}") from None


def _wait(
    process: subprocess.Popen[bytes],
    command: Sequence[str],
    is_ready: Callable[[], bool],
    seconds: float,
    log: Path | None,
) -> None:
    give_up = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < give_up:
        if is_ready():
            return
        time.sleep(POLL_SECONDS)
    late, code = f"is not ready after {seconds:g} seconds", process.returncode
    what = late if code is None else f"ended with exit code {code} before it was ready"
    raise ProgramError(f"{shlex.join(command)} {what}{_last_lines(log)}")


def _last_lines(log: Path | None) -> str:
    """Return how the sentence about a program ends: with what it said, where that is known."""
    if log is None:
        return "; it has said why."
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    return "\n".join([":", *said]) if said else "; it said nothing."
