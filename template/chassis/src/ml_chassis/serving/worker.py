"""A worker process: uvicorn, with bounds on clients that send slowly or without end.

Uvicorn bounds neither the time nor the size of a request's headers, and waits for a client that
does not read its answer: each such connection would stay open for as long as the client likes. It
also sends the head and the body of an answer each with a system call of its own, which costs more
than to decode the request. And where a client offers another protocol, such as HTTP/2, it drops the
body of the request, or takes it for the next one.
"""

import asyncio
import signal
import sys
from typing import Any, ClassVar, cast

import httptools
from gunicorn.arbiter import Arbiter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

HEADER_SECONDS = 5.0
MAX_HEADER_BYTES = 65_536
MAX_IDLE = 1_000
"""Connections of a worker that wait for their next request; beyond, the oldest are closed."""
FOR_SUPERVISOR = (
    *(signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU),
    *(signal.SIGUSR2, signal.SIGWINCH),
)
FRAMING = (b"content-length", b"transfer-encoding")
HEAD = tuple(b"HTTP/1.1 %d" % digit for digit in (2, 3, 4, 5))
"""How the last answer to a request begins; 100 Continue, which is none, is never kept waiting."""


class Joined:
    """A transport that sends the head of an answer with its body."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Take the transport, which does everything else."""
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send, or keep the head of an answer until more of it comes."""
        if data.startswith(HEAD) and not self._head:
            self._head = data
        else:
            data, self._head = self._head + data, b""
            if (
                not self._transport.is_closing()
            ):  # requests may wait behind the one that is answered
                self._transport.write(data)

    def flush(self) -> None:
        """Send the head that is kept."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Send what is kept, then close."""
        self.flush()
        self._transport.close()


class BoundedProtocol(HttpToolsProtocol):
    """One connection; it is closed when headers take too long or are too long."""

    _idle: ClassVar[dict["BoundedProtocol", None]] = {}
    """The connections without a request, in the order in which they became so."""
    _waiting_since: float | None = None
    _received = 0
    _unsent = 0
    _was_closing = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(cast(asyncio.Transport, Joined(transport)))
        self._waiting_since = self.loop.time()
        self._timer = self.loop.call_later(HEADER_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop looking."""
        self._timer.cancel()
        self._idle.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, and count while the headers are not whole."""
        answered = self.cycle is None or self.cycle.response_complete
        if answered and self._waiting_since is None:
            self._waiting_since = self.loop.time()
        self._idle.pop(self, None)
        self._parse(data)
        if self._waiting_since is not None:
            self._received += len(data)
            if self._received > MAX_HEADER_BYTES:
                self.send_400_response("The headers are too long.")

    def _parse(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            while True:
                try:
                    self.parser.feed_data(data)
                except httptools.HttpParserUpgrade as offer:
                    data = data[offer.args[0] :]
                    self._decline()
                else:
                    return
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _decline(self) -> None:
        """Read on in the protocol that is spoken, from the body of the request with the offer.

        The parser takes a request with an offer to have no body, so another one, which is told how
        long the body is, goes on.
        """
        framing = ((name, value) for name, value in self.headers if name in FRAMING)
        lines = [b"POST / HTTP/1.1", *(b"%s: %s" % header for header in framing), b"\r\n"]
        self.parser = httptools.HttpRequestParser(_Resumed(self))
        self.parser.feed_data(b"\r\n".join(lines))

    def on_headers_complete(self) -> None:
        """Stop waiting."""
        self._waiting_since = None
        self._received = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request, unless the parser has not seen its body."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Send the head of an answer that has no body; wait for the next request."""
        cast(Joined, self.transport).flush()
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:
            self._idle[self] = None
            if len(self._idle) > MAX_IDLE:
                oldest = next(iter(self._idle))
                del self._idle[oldest]
                oldest.timeout_keep_alive_handler()

    def _look(self) -> None:
        late = self.loop.time() - HEADER_SECONDS
        waited = self._waiting_since is not None and self._waiting_since <= late
        closing, unsent = self.transport.is_closing(), self.transport.get_write_buffer_size()
        unread = 0 < unsent == self._unsent
        if (
            waited or unread or (closing and self._was_closing)
        ):  # the rest of the answer is not read
            self.transport.abort()
        else:
            self._was_closing, self._unsent = closing, unsent
            self._timer = self.loop.call_later(HEADER_SECONDS, self._look)


class _Resumed:
    """What a parser calls that goes on in the middle of a request, of whose head it must be told.

    Of that head, the connection hears nothing again; of all that follows, everything.
    """

    def __init__(self, connection: BoundedProtocol) -> None:
        """Take the connection."""
        self._connection = connection
        self._is_told = False
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._is_told:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of its address."""
        if self._is_told:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        if self._is_told:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        """End its head."""
        if self._is_told:
            self._connection.on_headers_complete()
        self._is_told = True


class HttpWorker(UvicornWorker):  # type: ignore[misc]
    """Runs the application on one event loop.

    Signals for the supervisor, which a terminal sends to all, do nothing; SIGQUIT ends it at once.
    """

    CONFIG_KWARGS: dict[str, Any] = {  # noqa: RUF012 - named by the parent class
        "loop": "uvloop",
        "http": BoundedProtocol,
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        "date_header": False,
    }

    def init_signals(self) -> None:
        """Say what signals do before the event loop runs."""
        # One for a profile must not end a worker that is not ready for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        super().init_signals()
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        for each in FOR_SUPERVISOR:
            signal.signal(each, signal.SIG_IGN)

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = Server(self.config)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGQUIT, _end_at_once, server)
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


def _end_at_once(server: Server) -> None:
    server.should_exit = server.force_exit = True
