"""The retrainer as a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ml_chassis.testing import free_port
from servers import is_there, running_process


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
    with running_process(command, lambda: is_there(f"{url}/readyz"), folder, **given) as process:
        yield Running(process, url)
