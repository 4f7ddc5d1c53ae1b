"""Servers in this process."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ml_chassis.testing import serving


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
