"""A package index as companies have one: with a password, and certificates of their own."""

import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pypiserver
import trustme

from project.tools import run

NAME, PASSWORD = "team", "pa$word"


@dataclass(frozen=True)
class Index:
    """A package index: the address that tools ask, the certificates they trust, its packages."""

    url: str
    certificates: Path
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """The variables by which uv asks it, beside the usual index."""
        return {"UV_INDEX": self.url, "SSL_CERT_FILE": str(self.certificates)}

    def publish(self, source: Path) -> None:
        """Build a package from its source and publish it."""
        uv = os.environ.get("UV", "uv")  # `uv run` names itself
        done = run(source, uv, "build", "--quiet", "--out-dir", self.folder)
        assert done.returncode == 0, done.stdout


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128  # uv asks for all packages at once; who finds no place waits a second


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve_packages(source: Path, folder: Path) -> Iterator[Index]:
    """Publish a package in a new index, and run the index."""
    authority = trustme.CA()
    certificates = folder.parent / "certificates.pem"
    certificates.write_bytes(_known() + authority.cert_pem.bytes())
    application = pypiserver.app(
        roots=[folder],
        authenticate=["download", "list"],
        auther=lambda *given: given == (NAME, PASSWORD),
        disable_fallback=True,
    )
    options = {"server_class": _Server, "handler_class": _Quiet}
    with make_server("127.0.0.1", 0, application, **options) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        address = f"{NAME}:{PASSWORD}@127.0.0.1:{server.server_port}"
        index = Index(f"https://{address}/simple/", certificates, folder)
        index.publish(source)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield index
        server.shutdown()


def _known() -> bytes:
    """Return the certificates that this machine trusts."""
    paths = ssl.get_default_verify_paths()
    known = os.environ.get("SSL_CERT_FILE") or paths.cafile or paths.openssl_cafile
    return Path(known).read_bytes()
