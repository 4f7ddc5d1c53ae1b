"""The service and the retrainer of the story, each a process of its own, as in production."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from subprocess import Popen
from typing import Any

import httpx

from ...programs import LOCAL, ProgramError, answers, end, free_port, start
from ...registry import MODEL_FILE, history, read_manifest
from ...settings import PREFIX
from .copied import Copy


class Program:
    """A command of the chassis that runs in the copy of the project."""

    def __init__(self, copied: Copy, command: str, port: str) -> None:
        """Choose an address.

        Args:
            copied: Where it runs.
            command: Which one.
            port: The setting that is told the port.
        """
        self.url = f"http://{LOCAL}:{free_port()}"
        self._copy, self._command, self._port = copied, command, port
        self._running: Popen[bytes] | None = None

    def start(self) -> None:
        """Start it.

        Raises:
            ProgramError: it does not become ready.
        """
        number, folder = self.url.rpartition(":")[2], self._copy.folder
        given = {
            f"{PREFIX}{self._port}": number,
            f"{PREFIX}DRAIN_SECONDS": "0",
            "BENTOML_HOME": str(folder / ".bentoml" / number),
        }
        self._running = start(
            [sys.executable, "-m", "ml_chassis", self._command],
            lambda: answers(f"{self.url}/readyz"),
            log=folder / f"{self._command}-{number}.log",
            folder=folder,
            environment={**self._copy.environment, **given},
        )

    def end(self) -> None:
        """End it, where it runs."""
        if self._running:
            end(self._running)
            self._running = None


class Service:
    """The service: one replica, and for a moment another one that replaces it."""

    def __init__(self, copied: Copy) -> None:
        """Choose the addresses of both."""
        self._models = copied.models
        self._replicas = [Program(copied, "serve", "PORT") for _ in range(2)]

    @property
    def url(self) -> str:
        """Where it answers now."""
        return self._replicas[0].url

    @property
    def urls(self) -> list[str]:
        """Where it may answer."""
        return [each.url for each in self._replicas]

    @property
    def falls_back(self) -> bool:
        """Whether it answers without its model."""
        return read_manifest(self._models, self.champion).fallback is not None

    @property
    def champion(self) -> str:
        """The version that is named so."""
        return history(self._models)[0]

    def start(self) -> None:
        """Start it.

        Raises:
            ProgramError: it does not become ready.
        """
        self._replicas[0].start()

    def end(self) -> None:
        """End it."""
        for each in self._replicas:
            each.end()

    @contextmanager
    def without_model(self) -> Iterator[None]:
        """Damage the registry until the block ends, and replace the replica, then and afterwards.

        The new one answers by the fallback; without one it does not start.

        Raises:
            ProgramError: it does not become ready, though it should.
        """
        graph = self._models / self.champion / MODEL_FILE
        whole, falls_back = graph.read_bytes(), self.falls_back
        graph.write_bytes(whole[: len(whole) // 2])
        try:
            with suppress(*(() if falls_back else (ProgramError,))):
                self._replace()
            yield
        finally:
            graph.write_bytes(whole)
        self._replace()

    def _replace(self) -> None:
        """Start another replica, and end the one of before, whatever becomes of the other."""
        before, new = self._replicas
        try:
            new.start()
        finally:
            self._replicas.reverse()
            before.end()


class Retrainer(Program):
    """The retrainer."""

    def __init__(self, copied: Copy) -> None:
        """Choose its address."""
        super().__init__(copied, "retrainer", "RETRAINER_PORT")

    def last(self) -> dict[str, Any]:
        """Return what came of the last retraining, or {} while that is not known."""
        try:
            told = httpx.get(self.url, trust_env=False).raise_for_status().json()
        except httpx.HTTPError:  # its database may be busy
            return {}
        tried = [each for each in told["retrainings"] if each["outcome"] != "declined"]
        return dict(tried[0]) if tried else {}
