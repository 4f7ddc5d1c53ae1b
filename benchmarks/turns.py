"""Serve the same model by two services of one process in turns, and ask them.

python -m benchmarks.turns WITHOUT OBSERVED SWAPPED SECONDS, the settings in JSON; in the folder of
a project. Prints what each second of turns showed, in JSON. See observed.py.
"""

import asyncio
import json
import logging
import os
import random
import subprocess
import sys
import threading
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple

import uvicorn
import uvloop

from ml_chassis import project
from ml_chassis import settings as environment
from ml_chassis.serving import observation
from ml_chassis.serving.api import endpoints
from ml_chassis.serving.runtime import Runtime
from ml_chassis.serving.worker import HttpWorker

from .build import HERE, MODEL
from .measure import MEDIA, free_port

CLIENTS = 64
TURN_SECONDS = 0.05
TURNS_A_SECOND = 20
SEND_EVERY = 5
"""Seconds between two times that spans are sent, as OpenTelemetry has it."""
WARM_UP_SECONDS = 3
Settings = dict[str, str]


class Second(NamedTuple):
    """Answers in a second of turns of each of the two services, and how long the turns took."""

    without: int
    without_seconds: float
    observed: int
    observed_seconds: float


def main() -> None:
    """Print what the seconds showed."""
    without, observed = (json.loads(each) for each in sys.argv[1:3])
    swapped, seconds = sys.argv[3] == "yes", int(sys.argv[4])
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    observation.MOST //= 2  # its second has half a second of turns
    both = (observed, without) if swapped else (without, observed)
    print(json.dumps(uvloop.run(alternate(both, int(not swapped), seconds))))


async def alternate(both: tuple[Settings, Settings], observed: int, seconds: int) -> list[Second]:
    """Serve both services in turns; return what each second showed.

    Args:
        both: Their settings.
        observed: Which of them is observed.
        seconds: How long.
    """
    services = Services([make(settings) for settings in both], observed)
    port = free_port()
    worker = {**HttpWorker.CONFIG_KWARGS, "lifespan": "off", "interface": "asgi3"}
    config = uvicorn.Config(services.answer, port=port, log_level="warning", **worker)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.1)
    load = subprocess.Popen(
        [
            *("wrk", "--threads=1", f"--connections={CLIENTS}", f"--script={HERE / 'post.lua'}"),
            *(f"--duration={seconds + 2 * WARM_UP_SECONDS}s", f"http://127.0.0.1:{port}/predict"),
            *("--", services.body(), MEDIA["JSON"]),
        ],
        stdout=subprocess.DEVNULL,
    )
    await asyncio.sleep(WARM_UP_SECONDS)
    found = [await services.second(number) for number in range(seconds // 2)]
    load.terminate()
    load.wait()
    server.should_exit = True
    await serving
    await services.stop()
    return found


def make(settings: Settings) -> Runtime:
    """Return a service of the project as a worker has it."""
    for name in [each for each in os.environ if each.startswith("MODEL_SERVICE_")]:
        del os.environ[name]
    os.environ |= {f"MODEL_SERVICE_{name}": value for name, value in settings.items()}
    runtime = Runtime(project.read().contract, environment.read())
    runtime.load()
    runtime.observer.start()
    return runtime


class Services:
    """Two services, of which one is asked at a time."""

    def __init__(self, runtimes: Sequence[Runtime], observed: int) -> None:
        """Take both, and which of them is observed."""
        self._runtimes, self._observed = runtimes, observed
        self._endpoints = [endpoints(each)["/predict"] for each in runtimes]
        self._asked = 0
        self._answers = [0, 0]

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request by the service whose turn it is."""
        asked = self._asked
        await self._endpoints[asked](scope, receive, send)
        self._answers[asked] += 1

    async def second(self, number: int) -> Second:
        """Return what a second of turns of each of the two showed."""
        answers, seconds = [0, 0], [0.0, 0.0]
        beside: list[asyncio.Future[None]] = []
        for turn in range(TURNS_A_SECOND):
            for self._asked in random.sample((0, 1), 2):
                asked, start = self._asked, perf_counter()
                before = self._answers[asked]
                if asked == self._observed and turn == 0:
                    beside = self._begin_writing(sends=number % SEND_EVERY == 0)
                await asyncio.sleep(TURN_SECONDS)
                answers[asked] += self._answers[asked] - before
                seconds[asked] += perf_counter() - start
        await asyncio.gather(*beside)
        other = 1 - self._observed
        return Second(
            answers[other], seconds[other], answers[self._observed], seconds[self._observed]
        )

    def _begin_writing(self, *, sends: bool) -> list[asyncio.Future[None]]:
        """Begin what is done beside the requests."""
        runtime = self._runtimes[self._observed]
        if runtime.writers.sample:
            runtime.writers.sample.renew()
        if sends and runtime.observer._provider:
            threading.Thread(target=runtime.observer._provider.force_flush).start()
        return [asyncio.ensure_future(each.in_background()) for each in runtime.writers.every]

    def body(self) -> str:
        """Write the example row, as post.lua takes it, and return where."""
        file = MODEL / "example"
        row = self._runtimes[0].contract.example_row()
        file.write_text(json.dumps({"rows": [row]}).encode().hex() + "\n")
        return str(file)

    async def stop(self) -> None:
        """End both."""
        for runtime in self._runtimes:
            await runtime.stop()


if __name__ == "__main__":
    main()
