"""Compare the generated service with what a user would pick instead: `make bench`.

All servers run from the beginning to the end and are idle while another one is measured. A round
measures each of them under each load, one short slice after the other, so that what else happens
on the machine meets all of them; ratios are taken within a round.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

from . import processes, report
from .build import BUILD, HERE, ROOT, build, run, versions
from .contestants import CONTESTANTS, LOADS, TABLES, Contestant, Load
from .measure import BenchmarkError, Server, check_answers, measure, start

PACKAGES = (
    *("bentoml", "fastapi", "litserve", "mlserver", "msgspec", "numpy", "onnxruntime", "pandas"),
    *("pydantic", "scikit-learn", "starlette", "uvicorn", "uvloop"),
)
PLACES = {
    "project": "the generated project",
    "others": "competitors and limits",
    "mlserver": "MLServer",
}


def main() -> int:
    """Measure, write the results, and say which targets are met; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="length of a slice")
    parser.add_argument("--results", type=Path, default=HERE, help="folder for results.*")
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        print("wrk makes the load and is not installed: apt-get install wrk", file=sys.stderr)
        return 1
    folder: Path = arguments.results.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    environments = build()
    contestants = {
        name: one for name, one in CONTESTANTS.items() if one.environment in environments
    }
    results: report.Results = {
        "about": about(environments),
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "servers": {name: {"title": c.title, "role": c.role} for name, c in CONTESTANTS.items()},
        "absent": sorted(CONTESTANTS.keys() - contestants.keys()),
        "cold_start_s": {},
        "resident_mb": {},
        "slices": [],
    }
    try:
        compare(contestants, environments, results)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    one_slice_a_line = json.dumps(results).replace('{"server"', '\n{"server"')
    (folder / "results.json").write_text(one_slice_a_line + "\n")
    (folder / "results.md").write_text(report.render(results))
    plot = [HERE / "plot.py", folder / "results.json", folder / "results.svg"]
    run(ROOT, environments["others"] / "bin/python", *plot)
    print("\n" + report.verdicts_as_text(results))
    return 0


def compare(
    contestants: dict[str, Contestant], environments: dict[str, Path], results: report.Results
) -> None:
    """Start all servers, then measure them in rounds; add what was seen to the results.

    Raises:
        BenchmarkError: a server does not start, or answers otherwise than the others.
    """
    with ExitStack() as running:
        servers = start_all(contestants, environments, results, running)
        check_all(servers)
        warn_if_busy()
        begin, planned = time.monotonic(), list(slices(results["rounds"], servers))
        total = len(planned)
        for done, (turn, load, server) in enumerate(planned, start=1):
            found = measure(server, load, results["seconds"], turn)
            results["slices"].append(found)
            results["resident_mb"][server.name] = [  # the last slice's stays
                size / 1e6 for size in processes.resident_bytes(server.process.pid)
            ]
            left = (time.monotonic() - begin) / done * (total - done) / 60
            say(
                f"[{done}/{total}, {left:.0f} min left] round {turn + 1}, {load}, "
                f"{server.contestant.title}: {found['requests_per_second']:,.0f} requests/s, "
                f"p99 {found['p99_ms']:,.1f} ms, {found['errors']} errors"
            )
        check_all(servers)


def start_all(
    contestants: dict[str, Contestant],
    environments: dict[str, Path],
    results: report.Results,
    running: ExitStack,
) -> list[Server]:
    """Start each server once a round, and let it run the last time.

    Raises:
        BenchmarkError: one does not start.
    """
    servers = []
    for turn, (name, contestant) in product(range(results["rounds"]), contestants.items()):
        starting = start(name, contestant, environments[contestant.environment])
        server = running.enter_context(starting)
        results["cold_start_s"].setdefault(name, []).append(server.cold_start)
        say(f"start {turn + 1}/{results['rounds']}, {contestant.title}: {server.cold_start:.2f} s")
        if turn < results["rounds"] - 1:
            running.pop_all().close()
        else:
            servers.append(server)
    return servers


def slices(rounds: int, servers: list[Server]) -> Iterator[tuple[int, Load, Server]]:
    """Yield what to measure: for each load one server after the other, as close as can be."""
    for turn, load in product(range(rounds), sorted({*LOADS, *TABLES})):
        # In another order each time, so that none has always the same one before it.
        for server in servers[turn % len(servers) :] + servers[: turn % len(servers)]:
            if load in LOADS or server.name == "ours":
                yield turn, load, server


def check_all(servers: list[Server]) -> None:
    """Make sure that all servers answer the same.

    Raises:
        BenchmarkError: one does not.
    """
    for _, load, server in slices(1, servers):
        if load.clients == 1:
            check_answers(server, load)
    say("All servers give the same answers.")


def warn_if_busy() -> None:
    """Say it when the machine has other things to do, or idle servers are not idle."""
    begin, seconds = processes.machine_cpu_seconds(), 3
    time.sleep(seconds)
    busy = (processes.machine_cpu_seconds() - begin) / seconds
    if busy > report.BUSY_CORES:
        say(f"WARNING: something else uses {busy:.1f} cores; such results are not worth keeping.")


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def about(environments: dict[str, Path]) -> dict[str, str]:
    """Return what the results depend on; nothing that names the machine or a person."""
    python = run(BUILD, environments["project"] / "bin/python", "--version").split()[1]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    wrk = subprocess.run(["wrk", "-v"], check=False, stdout=subprocess.PIPE, text=True).stdout
    found = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": f"{processor[1] if processor else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GB",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": python,
        "wrk": wrk.split()[1],
    }
    for name, folder in environments.items():
        installed = versions(folder)
        found[PLACES[name]] = ", ".join(f"{p} {installed[p]}" for p in PACKAGES if p in installed)
    return found


if __name__ == "__main__":
    sys.exit(main())
