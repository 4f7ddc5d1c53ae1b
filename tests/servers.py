"""Servers of tests on this machine, and whether a server is ready."""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

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
        scheme = "http"
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"{scheme}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def wait_until_ready(process: subprocess.Popen[bytes], url: str, name: str) -> None:
    """Wait until a page of a process is there, such as its probe."""

    def is_ready() -> bool:
        assert process.poll() is None, f"{name} ended; it has said why"
        try:
            return httpx.get(url, trust_env=False).is_success
        except httpx.TransportError:
            return False

    wait_for(is_ready, f"{name} is ready")
