"""Servers on this machine, in this process or as one of their own."""

import os
import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from ml_chassis.testing import STOP_SECONDS, serving
from waiting import wait_for


class Handler(BaseHTTPRequestHandler):
    """Answers as those that inherit from it say, and writes no log."""

    def body(self) -> bytes:
        """Return that of the request."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, body: bytes = b"", status: int = 200) -> None:
        """Send a whole answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def running_server(handler: type[Handler], context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Run a server on a port of its own, with TLS where there is a context; yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        with serving(server):
            yield f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"


@contextmanager
def running_process(
    command: Sequence[str],
    is_ready: Callable[[], bool],
    folder: Path | None = None,
    **environment: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends; it begins once the program is ready.

    Args:
        command: Its name and arguments.
        is_ready: Says whether it is.
        folder: In which it runs; without one, in that of this process.
        environment: More variables.
    """
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment})

    def ready() -> bool:
        assert process.poll() is None, f"{command[0]} ended; it has said why"
        return is_ready()

    try:
        wait_for(ready, f"{command[0]} is ready")
        yield process
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def is_there(url: str) -> bool:
    """Return whether a page is, such as the probe of a server."""
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False
