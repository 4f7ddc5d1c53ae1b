"""/metrics on a port of its own, which a network policy can keep from clients."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from . import metrics
from .counts import CountsError


def share(host: str, port: int) -> socket.socket:
    """Return a socket that shares its address with others; the kernel spreads connections."""
    shared = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    shared.bind((host, port))
    return shared


def show_metrics(track: str) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers GET /metrics, over all worker processes."""
    alone = asyncio.Lock()

    async def show(_: Request) -> Response:
        async with alone:  # one thread at a time: requests for predictions go on meanwhile
            try:
                content, media_type = await asyncio.to_thread(metrics.render, track)
            except CountsError as error:
                return PlainTextResponse(f"The counts cannot be read: {error}.\n", 503)
        return Response(content, media_type=media_type)

    return show


class Server(uvicorn.Server):
    """One that leaves the signals to others."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


class Exporter:
    """Answers in the event loop of a worker; all workers share the port."""

    def __init__(self, host: str, port: int, track: str, protocol: type[asyncio.Protocol]) -> None:
        """Take the address, the track that all metrics name, and what bounds each connection.

        Those that a client leaves open take file descriptors from the service beside it.
        """
        self._socket = share(host, port)
        app = Starlette(routes=[Route("/metrics", show_metrics(track))])
        config = uvicorn.Config(
            app,
            http=protocol,
            access_log=False,
            log_config=None,
            ws="none",
            lifespan="off",
        )
        self._server = Server(config)

    def start(self) -> None:
        """Begin to answer."""
        self._task = asyncio.create_task(self._server.serve([self._socket]))

    async def stop(self) -> None:
        """End."""
        self._server.should_exit = True
        await self._task
