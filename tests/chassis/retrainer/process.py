"""The retrainer as a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ml_chassis.programs import answers, free_port, running


class Running(NamedTuple):
    """The process, and its address."""

    process: subprocess.Popen[bytes]
    url: str


@contextmanager
def running_retrainer(folder: Path, **settings: str) -> Iterator[Running]:
    """Run `chassis retrainer` in the folder of a project, until it is ready to take alerts."""
    port = free_port()
    given = {"MODEL_SERVICE_RETRAINER_PORT": str(port), **settings}
    command = [sys.executable, "-m", "ml_chassis", "retrainer"]
    url = f"http://127.0.0.1:{port}"
    with running(
        command, lambda: answers(f"{url}/readyz"), folder=folder, environment=given
    ) as process:
        yield Running(process, url)
