"""The service as production runs it: the hot route first, BentoML behind it, workers supervised.

BentoML's layers cost a prediction several times its own price, so POST /predict is answered in
front of them; everything else is BentoML's. Gunicorn holds the socket, starts the workers from
one process that has imported everything, and replaces those that die or hang.
"""

import gc
import logging
import os
import sys
from pathlib import Path
from typing import Any

import bentoml
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from starlette.types import ASGIApp, Receive, Scope, Send

from ..monitoring import counts, metrics
from ..monitoring.exporter import share
from ..project import Project
from ..settings import Settings
from .guard import Guard

LOGGER = logging.getLogger("model_service")


def give_socket(supervisor: Any, worker: Any) -> None:
    """Give a new worker the socket of one that ended, on which connections wait meanwhile."""
    taken = [other.sockets[0] for other in supervisor.WORKERS.values()]
    worker.sockets = [next(each for each in supervisor.LISTENERS if each not in taken)]


def number_worker(supervisor: Any, worker: Any) -> None:
    """Tell BentoML in a new worker which one it is: its monitor writes a file for each.

    One that takes the place of another has its number, and so goes on with its file.
    """
    (own,) = worker.sockets
    bentoml.server_context.worker_index = 1 + supervisor.LISTENERS.index(own)


def note_end(supervisor: Any, worker: Any) -> None:
    """Count a worker that ended, unless the service stops, and keep what it has counted.

    Nothing but the end of the service tells a worker to end: one that died, or hung and was killed,
    has lost what it was answering. Gunicorn's own lines are about most ways to end, but not all.
    """
    if not supervisor.is_stopping:
        metrics.count_ended_worker()
        LOGGER.warning(
            "worker %d ended and is replaced; where no line before this one says how, it was "
            "SIGTERM, or exit code 0",
            worker.pid,
        )
    counts.add_up_ended(worker.pid)


class Supervisor(Arbiter):  # type: ignore[misc]
    """Gunicorn's, for a number of workers that is fixed, as each has a socket of its own.

    Attributes:
        is_stopping: Whether it ends its workers, as the service is to stop.
    """

    is_stopping = False

    def __init__(self, app: BaseApplication) -> None:
        """Note whether a terminal started it, as one that is closed cannot be asked."""
        self._in_terminal = sys.stdin is not None and sys.stdin.isatty()
        super().__init__(app)

    def stop(self, graceful: bool = True) -> None:
        """End all workers; that they end is no news then."""
        self.is_stopping = True
        super().stop(graceful)

    def murder_workers(self) -> None:
        """End workers that hang; is called each second, so that counts that are gone come back."""
        super().murder_workers()
        counts.restore()

    def handle_hup(self) -> None:
        """Stop when the terminal is closed; else there is nothing to read anew."""
        if self._in_terminal:
            raise StopIteration
        self._refuse("SIGHUP", "start the service anew for other settings or other code")

    def handle_ttin(self) -> None:
        """Keep the number of workers."""
        self._refuse("SIGTTIN", "set MODEL_SERVICE_WORKERS for more workers")

    def handle_ttou(self) -> None:
        """Keep the number of workers."""
        self._refuse("SIGTTOU", "set MODEL_SERVICE_WORKERS for fewer workers")

    def handle_usr2(self) -> None:
        """Start no second supervisor beside this one."""
        self._refuse("SIGUSR2", "start another service, and stop this one")

    def _refuse(self, name: str, instead: str) -> None:
        LOGGER.warning("%s does nothing here: %s", name, instead)


class GunicornLogger(Logger):  # type: ignore[misc]
    """Gunicorn's log, and with it uvicorn's, as all other lines are."""

    def setup(self, cfg: Any) -> None:
        """Write where the root of all logs does."""
        super().setup(cfg)
        self.error_log.handlers = list(logging.getLogger().handlers)


class Production(BaseApplication):  # type: ignore[misc]
    """The service as Gunicorn runs it."""

    def __init__(self, project: Project, settings: Settings) -> None:
        """Take the project and the settings."""
        self._project, self._settings = project, settings
        # From one socket for all, the worker that happens to be awake takes nearly all connections.
        self._sockets = [share(settings.host, settings.port) for _ in range(settings.workers)]
        super().__init__()

    def run(self) -> None:
        """Serve until stopped."""
        Supervisor(self).run()

    def load_config(self) -> None:
        """Tell Gunicorn how to run."""
        options: dict[str, Any] = {
            "bind": [f"fd://{each.fileno()}" for each in self._sockets],
            "workers": self._settings.workers,
            "worker_class": f"{__package__}.worker.HttpWorker",
            "preload_app": True,
            "timeout": self._settings.hung_seconds,
            "keepalive": self._settings.keep_alive_seconds,
            "graceful_timeout": int(self._settings.drain_seconds) + 10,
            "loglevel": "warning",
            "logger_class": GunicornLogger,
            "control_socket_disable": True,
            # Beside the counts, whose folder somebody may remove.
            "worker_tmp_dir": str(Path(os.environ[counts.FOLDER]).parent),
            "when_ready": lambda _: self._announce(),
            "pre_fork": give_socket,
            "post_fork": number_worker,
            "child_exit": note_end,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def _announce(self) -> None:
        served = self._project.service.inner.application.served
        model = served.version if served.predictor else "NO MODEL, the fallback alone,"
        workers = f"{self._settings.workers} worker{'s' * (self._settings.workers > 1)}"
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        address = f"http://{host}:{self._settings.port}"
        LOGGER.info("serving %s on %s, %s; stop: Ctrl-C", model, address, workers)
        if self._settings.profiles_dir:
            LOGGER.info("a CPU profile of each worker: kill -USR1 %d", os.getpid())

    def load(self) -> ASGIApp:
        """Import the service; each worker is a copy of the process that did it."""
        service = self._project.service
        application = service.inner.application
        bento: ASGIApp = service.to_asgi()
        gc.freeze()  # or each worker, looking for garbage, would make copies of what they share
        guarded = {
            path: Guard(endpoint, application.keys) for path, endpoint in application.hot.items()
        }

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            endpoint = guarded.get(scope["path"]) if scope.get("method") == "POST" else None
            await (endpoint or bento)(scope, receive, send)

        return answer
