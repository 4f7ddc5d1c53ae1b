"""The retrainer as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ml_chassis.testing import STOP_SECONDS, free_port
from servers import wait_until_ready


class Running(NamedTuple):
    """The process, and its address."""

    process: subprocess.Popen[bytes]
    url: str


@contextmanager
def running_retrainer(folder: Path, **settings: str) -> Iterator[Running]:
    """Run `chassis retrainer` in the folder of a project, until it is ready to take alerts."""
    port = free_port()
    given = {**os.environ, "MODEL_SERVICE_RETRAINER_PORT": str(port), **settings}
    command = [sys.executable, "-m", "ml_chassis", "retrainer"]
    process = subprocess.Popen(command, cwd=folder, env=given)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, f"{url}/readyz", "the retrainer")
        yield Running(process, url)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
