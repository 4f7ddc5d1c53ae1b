"""An interface over HTTPS that takes a token, as those of GitHub and Kubernetes."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import trustme

TOKEN = "ghs_secret"  # noqa: S105 - of these tests


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    authorization: str
    body: Any


class Interface:
    """Answers what `answers` has for a method and path, and notes what was asked."""

    def __init__(self, url: str, certificates: Path) -> None:
        """Take its address, and the certificates to trust."""
        self.url, self.certificates = url, certificates
        self.asked: list[Asked] = []
        self.answers: dict[str, tuple[int, Any]] = {}


@contextmanager
def running_interface(folder: Path) -> Iterator[Interface]:
    """Run one; what `answers` does not have is not found."""
    authority = trustme.CA()
    (folder / "ca.crt").write_bytes(authority.cert_pem.bytes())

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            authorization = self.headers.get("Authorization", "")
            content = json.loads(body) if body else None
            found.asked.append(Asked(self.command, self.path, authorization, content))
            status, answer = found.answers.get(
                f"{self.command} {self.path}", (404, {"message": "Not Found"})
            )
            told = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        found = Interface(f"https://127.0.0.1:{server.server_port}", folder / "ca.crt")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
