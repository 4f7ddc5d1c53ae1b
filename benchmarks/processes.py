"""A server's processes: their CPU time, their memory and their end, from /proc."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
STOP_SECONDS = 20


class Process(NamedTuple):
    """A process at one moment."""

    parent: int
    cpu: float  # seconds
    started: int  # with the id, it names the process for ever
    resident: int  # bytes


def family(root: int) -> dict[int, Process]:
    """Return a process and then all its descendants, by their ids."""
    every = {
        int(path.name): process
        for path in Path("/proc").glob("[0-9]*")
        if (process := _read(path / "stat"))
    }
    found: dict[int, Process] = {}
    generation = {root} & every.keys()
    while generation:
        found |= {pid: every[pid] for pid in generation}
        generation = {pid for pid, process in every.items() if process.parent in generation}
    return found


def _read(path: Path) -> Process | None:
    try:
        # The name stands in parentheses and may hold anything; after it comes the third field.
        fields = [None, None, None, *path.read_text().rpartition(")")[2].split()]
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return None
    parent, user, system, started, pages = (int(str(fields[n])) for n in (4, 14, 15, 22, 24))
    return Process(parent, (user + system) * TICK, started, pages * PAGE)


def cpu_seconds(root: int) -> float:
    """Return the CPU time that a process and its descendants have used."""
    return sum(process.cpu for process in family(root).values())


def resident_bytes(root: int) -> list[int]:
    """Return the resident memory of a process and of each of its descendants."""
    return [process.resident for process in family(root).values()]


def machine_cpu_seconds() -> float:
    """Return the CPU time that all processes, and other virtual machines, took so far.

    Without interrupts: those are the network's, and so the load's own.
    """
    first = Path("/proc/stat").read_text().splitlines()[0]
    user, nice, system, _, _, _, _, stolen = (int(field) for field in first.split()[1:9])
    return (user + nice + system + stolen) * TICK


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started."""
    before = family(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for pid, known in before.items():
        now = _read(Path(f"/proc/{pid}/stat"))
        if now and now.started == known.started:
            os.kill(pid, signal.SIGKILL)
    process.wait()
