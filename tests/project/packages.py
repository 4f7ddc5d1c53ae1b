"""A real package index on this machine, which holds the library in versions that a test wants."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ml_chassis.testing import free_port
from project.service import Service
from project.tools import TOOLS, run

START_SECONDS = 30


@dataclass(frozen=True)
class Index:
    """A package index: the address that tools ask, and the folder of its packages."""

    url: str
    folder: Path

    def publish(self, source: Path) -> None:
        """Build a package from its source and publish it."""
        uv = os.environ.get("UV", "uv")  # `uv run` names itself
        done = run(source, uv, "build", "--quiet", "--out-dir", self.folder)
        assert done.returncode == 0, done.stdout


@contextmanager
def serve_packages(source: Path, folder: Path) -> Iterator[Index]:
    """Publish a package in a new index, and run the index."""
    port = free_port()
    server = Service(f"127.0.0.1:{port}")
    index = Index(f"http://{server.address}/simple/", folder)
    index.publish(source)
    command = (TOOLS / "pypi-server", "run", "--port", str(port), "--interface", "127.0.0.1")
    options = ("--disable-fallback", "--log-file", folder.parent / "index.log", folder)
    with subprocess.Popen((*command, *options), stdout=subprocess.DEVNULL) as process:
        try:
            give_up = time.monotonic() + START_SECONDS
            while not _answers(server):
                assert process.poll() is None
                assert time.monotonic() < give_up
                time.sleep(0.1)
            yield index
        finally:
            process.terminate()


def _answers(server: Service) -> bool:
    try:
        return server.get("/simple/").status == 200
    except OSError:
        return False
