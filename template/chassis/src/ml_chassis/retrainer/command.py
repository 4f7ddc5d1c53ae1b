"""Wait for alerts, and retrain: `make retrainer`."""

import asyncio
import logging
import signal
import sys
from contextlib import closing

import uvicorn

from .. import logs, settings, slo
from ..errors import UserError
from ..monitoring.exporter import Server
from ..project import Project
from ..serving.command import claim
from ..settings import PREFIX, Settings
from ..training.config import read
from .receiver import Retrainer, create_app
from .record import Record
from .runners import runner_of

LOGGER = logging.getLogger("model_service")


def run(project: Project) -> int:
    """Answer until stopped; return the exit code."""
    try:
        configured, limits = settings.read(), read(project).retraining
        logs.start(configured.log_format, logging.WARNING)
        LOGGER.setLevel(logging.INFO)
        job = slo.read().job
        runner = runner_of(configured.retrain_url, limits.maximum_hours)
        record = Record(configured.database_url.get_secret_value())
        name = f"{PREFIX}RETRAINER_PORT"
        claimed = claim(configured.host, configured.retrainer_port, name)
        with closing(claimed), record.only_one():
            where = f"http://{configured.host}:{configured.retrainer_port}/alerts"
            LOGGER.info("alerts are taken on %s; retrainings run %s", where, runner.where)
            asyncio.run(_serve(Retrainer(record, runner, limits), configured, job))
    except UserError as error:
        print(f"No alert is taken. {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(retrainer: Retrainer, configured: Settings, job: str) -> None:
    config = uvicorn.Config(
        create_app(retrainer, configured, job),
        host=configured.host,
        port=configured.retrainer_port,
        access_log=False,
        log_config=None,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=5,
    )
    server = Server(config)

    def stop() -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await server.serve()
