"""Programs beside this one are started, awaited and ended; none is left behind."""

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ml_chassis import programs
from ml_chassis.programs import LOCAL, PORTS, ProgramError, answers, end, free_port, running, start
from ml_chassis.testing import other_service

SERVES = (sys.executable, "-m", "http.server", "--bind", LOCAL)
SLEEPS = ("sleep", "600")
STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def said(log: Path, words: str) -> Callable[[], bool]:
    """Return what tells whether a program has said these words."""
    return lambda: words in log.read_text()


def children() -> set[psutil.Process]:
    return set(psutil.Process().children())


def test_it_runs_from_when_it_is_ready_until_the_block_ends(tmp_path: Path) -> None:
    (tmp_path / "page").touch()
    port = free_port()
    url = f"http://{LOCAL}:{port}/page"
    assert not answers(url)

    with running([*SERVES, str(port)], lambda: answers(url), folder=tmp_path) as process:
        assert process.poll() is None

    assert process.returncode == -signal.SIGTERM
    assert not answers(url)


def test_an_error_in_the_block_ends_it() -> None:
    with pytest.raises(KeyError), running(SLEEPS, lambda: True) as process:
        raise KeyError

    assert process.returncode == -signal.SIGTERM


def test_it_has_more_variables_and_its_log_all_that_it_says(tmp_path: Path) -> None:
    script = 'echo "out $MORE"; echo "error $HOME" >&2; exec sleep 600'
    log = tmp_path / "log"

    with running(["sh", "-c", script], said(log, "error"), log=log, environment={"MORE": "given"}):
        assert log.read_text() == f"out given\nerror {os.environ['HOME']}\n"


def test_one_that_ends_before_it_is_ready_has_said_why(tmp_path: Path) -> None:
    code = "print(*range(99), 'the disk is full', sep='\\n'); exit(3)"
    command, log = python(code), tmp_path / "log"

    with pytest.raises(ProgramError) as refused:
        start(command, lambda: False, log=log)

    first, *lines = str(refused.value).splitlines()
    assert sys.executable in first
    assert first.endswith("ended with exit code 3 before it was ready:")
    assert lines == log.read_text().splitlines()[-programs.LAST_LINES :]
    assert lines[-1] == "the disk is full"


def test_one_that_is_silent_or_has_no_log_is_told_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ProgramError, match=r"before it was ready; it said nothing\.$"):
        start(["false"], lambda: False, log=tmp_path / "log")
    with pytest.raises(ProgramError, match=r"before it was ready; it has said why\.$"):
        start(python("exit('the disk is full')"), lambda: False)

    assert "the disk is full" in capfd.readouterr().err


def test_one_that_is_not_ready_in_time_is_ended() -> None:
    before = children()

    with pytest.raises(ProgramError, match=r"is not ready after 0\.5 seconds"):
        start(SLEEPS, lambda: False, seconds=0.5)

    assert not children() - before


def test_an_interrupt_while_it_is_awaited_ends_it() -> None:
    before = children()

    def is_ready() -> bool:
        assert children() - before, "it runs"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(SLEEPS, is_ready)

    assert not children() - before


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(
        ProgramError, match=r"^no-such-program --now cannot be started: No such file"
    ):
        start(["no-such-program", "--now"], lambda: True)


def test_what_ignores_that_it_is_told_to_end_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start(python(STUBBORN), said(log, "deaf"), log=log)

    end(process, 0.2)

    assert process.returncode == -signal.SIGKILL


def test_what_has_ended_can_be_ended() -> None:
    process = start(SLEEPS, lambda: True)
    end(process)
    end(process)

    assert process.returncode == -signal.SIGTERM


def test_a_free_port_is_in_its_range_and_nobody_listens_there() -> None:
    port = free_port()

    assert port in PORTS
    socket.create_server((LOCAL, port)).close()


def test_a_port_on_which_somebody_listens_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((LOCAL, 0)) as server:
        taken, other = server.getsockname()[1], free_port()
        monkeypatch.setattr(programs, "PORTS", (taken, other))

        assert {free_port() for _ in range(20)} == {other}


@pytest.mark.parametrize(("status", "success"), [(200, True), (404, False), (503, False)])
def test_only_success_is_an_answer(status: int, success: bool) -> None:
    with other_service(status, b"") as url:
        assert answers(url) == success


def test_no_proxy_answers_for_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with other_service(200, b"") as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("http_proxy", proxy)
        assert not answers(f"http://{LOCAL}:{free_port()}")


@pytest.mark.slow
def test_a_server_that_is_silent_does_not_answer() -> None:
    with socket.create_server((LOCAL, 0)) as silent:
        assert not answers(f"http://{LOCAL}:{silent.getsockname()[1]}")
