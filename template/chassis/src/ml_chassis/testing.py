"""What the tests of a service need: a model of their own, the service for real, rows to ask it.

What takes long to import is imported where it is used: most tests of a team need little of it.
"""

import asyncio
import math
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
from pydantic import ValidationError

from .contract import Column, Contract
from .programs import LOCAL, answers, end, free_port, start
from .project import Project
from .registry import Manifest
from .settings import Settings
from .storage import Root

if TYPE_CHECKING:
    from .data.store import Store

SERVE = ("ml_chassis", "serve")
"""The module, and its arguments, that run the service as in production."""
READY = "/readyz"


class Trained(NamedTuple):
    """A registry with one champion, and the database that it was trained from."""

    models: Path
    manifest: Manifest
    store: "Store"


@contextmanager
def trained(project: Project, folder: Path) -> Iterator[Trained]:
    """Train as `chassis train` does, into a folder of its own.

    Raises:
        UserError: the model does not meet a gate, or could not be trained.
    """
    from .data.store import Store
    from .training.config import read
    from .training.train import train

    store = Store(project, f"sqlite:///{folder}/service.db")
    try:
        yield Trained(folder / "models", train(read(project), store, folder / "models"), store)
    finally:
        store.close()


class Service(NamedTuple):
    """A service that runs as a process of its own."""

    process: subprocess.Popen[bytes]
    url: str


@contextmanager
def running_service(models: Root, home: Path, **environment: str) -> Iterator[str]:
    """Run the service of the working folder; yield its address once it is ready.

    Args:
        models: The registry.
        home: A folder for what BentoML writes.
        environment: More variables, such as MODEL_SERVICE_WORKERS="2".

    Raises:
        ProgramError: it does not become ready.
    """
    service = start_service(models, home, SERVE, None, **environment)
    try:
        yield service.url
    finally:
        end(service.process)


def start_service(
    models: Root,
    home: Path,
    command: Sequence[str] = SERVE,
    log: Path | None = None,
    **environment: str,
) -> Service:
    """Start the service on a free port, and wait until it is ready; see `running_service`.

    Args:
        models: The registry.
        home: A folder for what BentoML writes.
        command: A module and its arguments; {port} is replaced.
        log: Takes what the service says; without one, it goes where this process writes.
        environment: More variables.
    """
    port = free_port()
    url = f"http://{LOCAL}:{port}"
    given = {
        "BENTOML_HOME": str(home),
        "MODEL_SERVICE_MODELS_DIR": str(models),
        "MODEL_SERVICE_DRAIN_SECONDS": "1",
        "MODEL_SERVICE_PORT": str(port),
        **environment,
    }
    arguments = [sys.executable, "-m", *(part.format(port=port) for part in command)]
    process = start(arguments, lambda: answers(f"{url}{READY}"), log=log, environment=given)
    return Service(process, url)


def is_ready(service: Service) -> bool:
    """Return whether it wants requests."""
    return answers(f"{service.url}{READY}")


def ask_routes(project: Project, models: Path, path: str, *bodies: Any) -> list[httpx.Response]:
    """Return what the routes of a service answer to POST requests, one after another.

    They run in this process, with the champion of a registry; paths are without /api.
    """
    from .serving import champion
    from .serving.runtime import Runtime

    runtime = Runtime(project.contract, Settings(models_dir=str(models)))
    runtime.scorer.use(champion.load(project.contract, models, runtime.settings.alias))
    web = project.create_web(runtime)
    assert web, "the project has no routes"  # noqa: S101 - this is for tests

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(web)
        async with (
            web.router.lifespan_context(web),
            httpx.AsyncClient(transport=transport, base_url="http://routes") as client,
        ):
            return [await client.post(path, json=body) for body in bodies]

    return asyncio.run(ask())


@contextmanager
def other_service(status: int, body: bytes) -> Iterator[str]:
    """Run a service that answers every GET request alike; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(ConnectionError):  # the client has gone
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((LOCAL, 0), Handler) as server, serving(server):
        yield f"http://{LOCAL}:{server.server_port}"


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[None]:
    """Let a server answer, in a thread, until the block ends."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def valid_rows(contract: Contract, count: int) -> list[dict[str, Any]]:
    """Return valid rows, the same ones every time: bounds, choices and missing values."""
    from .loading import payloads

    return payloads.rows(contract, count)


class WrongValue(NamedTuple):
    """A value that the schema refuses, and what it says."""

    field: str
    value: Any
    message: str


def wrong_values(contract: Contract) -> Iterator[WrongValue]:
    """Yield values that the schema refuses: of another kind, beyond the bounds, missing."""
    example = contract.example_row()
    for column in contract.features:
        for value in _odd_values(column):
            try:
                contract.schema.model_validate({**example, column.name: value})
            except ValidationError as error:
                yield WrongValue(column.name, value, error.errors()[0]["msg"])


def _odd_values(column: Column) -> list[Any]:
    """Return values of which most are wrong."""
    lower = column.minimum if column.minimum is not None else column.above
    upper = column.maximum if column.maximum is not None else column.below
    if lower is None or upper is None:
        return [None, "\n", "x" * 999, str(column.example).swapcase(), True, 5]
    beyond = [math.floor(lower) - 1, math.ceil(upper) + 1]
    between = [column.example + 0.5] if column.type == "integer" else []
    return [None, "fast", "12", True, *beyond, *between]
