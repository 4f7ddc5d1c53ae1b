"""What it costs to observe the service: `make bench-observed`.

Two processes that do the same differ by several per cent, for reasons of their own such as where
their memory lies. So one process holds the same service twice, with nothing observed and with what
is measured, and hands its requests to the one or the other in turns of 50 ms, which what else
happens on the machine meets alike. What is done once a second beside the requests is done once for
each second of turns, at the beginning of one of them, and so costs that turn what it costs.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from .build import HERE, PROJECT, ROOT, environment, generate
from .turns import CLIENTS, Second, Settings

RESAMPLED = 2_000
RESULTS = HERE / "observed.md"
LIMIT = 0.03

NOTHING: Settings = {"LOG_SHARE": "0"}
FEEDBACK: Settings = {"FEEDBACK_URL": "sqlite:///{folder}/feedback.db"}
MONITOR: Settings = {"MONITOR": "flights"}
TRACES: Settings = {"TRACES_URL": "{collector}"}
OBSERVED: dict[str, Settings] = {
    "nothing, as a control": NOTHING,
    "access log": {},
    "predictions kept for labels": NOTHING | FEEDBACK,
    "BentoML's monitor": NOTHING | MONITOR,
    "traces": NOTHING | TRACES,
    "all of them": FEEDBACK | MONITOR | TRACES,
}


def main() -> int:
    """Measure each of `OBSERVED`, and write the results; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.observed")
    parser.add_argument("--seconds", type=int, default=120, help="for each, and once more swapped")
    asked = parser.parse_args()
    if not shutil.which("wrk"):
        print("wrk makes the load and is not installed: apt-get install wrk", file=sys.stderr)
        return 1
    generate()
    lines, lost = [], 0.0
    with running_collector() as address:
        for name, settings in OBSERVED.items():
            seconds = [
                each
                for swapped in (False, True)
                for each in measure(settings, swapped, asked.seconds, address)
            ]
            lines.append(row(name, seconds))
            lost = cost(seconds)
            print(lines[-1], flush=True)
    RESULTS.write_text(text(lines, asked.seconds))
    print(f"All of them cost {lost:.1%} of the requests a second; the limit is {LIMIT:.0%}.")
    return 0 if lost <= LIMIT else 1


def cost(seconds: Sequence[Second]) -> float:
    """Return the share of the requests a second that is lost."""
    total = Second(*(sum(each) for each in zip(*seconds, strict=True)))
    without = total.without / total.without_seconds
    return 1 - total.observed / total.observed_seconds / without


def row(name: str, seconds: Sequence[Second]) -> str:
    """Return a row of the results; the interval is of the bootstrap over seconds."""
    drawn = [cost(random.choices(seconds, k=len(seconds))) for _ in range(RESAMPLED)]  # noqa: S311
    low, high = np.quantile(drawn, [0.025, 0.975])
    speed = sum(each.without / each.without_seconds for each in seconds) / len(seconds)
    return f"| {name} | {speed:,.0f} | {cost(seconds):.1%} | {low:.1%} to {high:.1%} |"


def text(rows: Sequence[str], seconds: int) -> str:
    """Return the results as a page."""
    head = [
        "# What it costs to observe the service",
        "",
        f"Written by `make bench-observed`: {CLIENTS} clients, 1 row, one worker, {2 * seconds} s "
        "each; README.md says how it measures.",
        "",
        "| observed | requests/s without it | of which it costs | 95 % interval |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def measure(settings: Settings, swapped: bool, seconds: int, collector: str) -> list[Second]:
    """Return what each second showed.

    Args:
        settings: Of the service that is observed.
        swapped: Whether it is the one that is made first.
        seconds: How long it is measured.
        collector: The address to which traces are sent.
    """
    with TemporaryDirectory(prefix="observed-") as folder:
        places = {"folder": folder, "collector": collector}
        given = {name: value.format(**places) for name, value in settings.items()}
        arguments = [json.dumps(NOTHING), json.dumps(given), "yes" if swapped else "no"]
        with Path(folder, "log").open("w") as log:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.turns", *arguments, str(seconds)],
                cwd=PROJECT,
                env=environment(
                    Path(sys.executable).parent,
                    PYTHONPATH=f"{ROOT}{os.pathsep}{PROJECT / 'src'}",
                    PROMETHEUS_MULTIPROC_DIR=folder,
                    OTEL_BSP_SCHEDULE_DELAY="1000000000",  # they are sent when a turn says so
                ),
                check=False,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        if done.returncode:
            print(Path(folder, "log").read_text(), file=sys.stderr)
            done.check_returncode()
    return [Second(*each) for each in json.loads(done.stdout)]


class Taking(BaseHTTPRequestHandler):
    """A collector that takes spans, and does nothing with them."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take them."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def running_collector() -> Iterator[str]:
    """Run a collector, and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces"
        server.shutdown()


if __name__ == "__main__":
    sys.exit(main())
