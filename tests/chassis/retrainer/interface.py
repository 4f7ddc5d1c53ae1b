"""An interface over HTTPS that takes a token, as those of GitHub and Kubernetes."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import trustme

from servers import Handler, running_server

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

    class Answering(Handler):
        def _answer(self) -> None:
            body = self.body()
            authorization = self.headers.get("Authorization", "")
            content = json.loads(body) if body else None
            found.asked.append(Asked(self.command, self.path, authorization, content))
            status, answer = found.answers.get(
                f"{self.command} {self.path}", (404, {"message": "Not Found"})
            )
            self.answer(b"" if answer is None else json.dumps(answer).encode(), status)

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with running_server(Answering, context) as url:
        found = Interface(url, folder / "ca.crt")
        yield found
