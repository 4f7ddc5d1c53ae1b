"""The BentoML service: lifecycle, health and configuration around the HTTP interface.

`chassis serve` and the image start it through `production.py`. `bentoml serve`, in the root of the
project, starts it too; BentoML then tells its makers of the start unless
BENTOML_DO_NOT_TRACK=True is set.
"""

import sys
from dataclasses import dataclass
from typing import Any

import bentoml
from fastapi.routing import APIRoute

from .. import settings, slo
from ..contract import Contract
from ..errors import UserError
from ..monitoring import metrics
from ..project import Project
from ..registry import CHALLENGER, RegistryError
from ..settings import PREFIX, Settings, SettingsError
from .api import create_app, endpoints
from .champion import load
from .endpoint import Endpoint
from .follow import prepare
from .guard import Guard, accepted_keys
from .openapi import WEB
from .runtime import Runtime, of_challenger
from .scoring import Model


@dataclass(frozen=True)
class Application:
    """What a service is made of, before a worker starts.

    Attributes:
        settings: What the environment says.
        served: The model that was found; each worker loads its own.
        runtime: What lives in a worker.
        hot: What answers requests for predictions, by path.
        keys: The keys that are accepted, as they come in a header.
    """

    settings: Settings
    served: Model
    runtime: Runtime
    hot: dict[str, Endpoint]
    keys: Any


def create_service(project: Project) -> Any:
    """Return the BentoML service of a project, to be assigned to a variable of a module.

    A supervisor imports that module before it starts workers: a mistake ends here, with a message,
    and not in workers that fail again and again.

    Raises:
        SystemExit: the service cannot start.
    """
    try:
        configured = settings.read()
        contract = project.contract
        metrics.use_objectives(_latencies())
        served = load(contract, prepare(configured), configured.alias)
        runtime = Runtime(contract, configured)
        if configured.experiment:
            _require_challenger(contract, configured)
        web = project.create_web(runtime)
        for route in web.routes if web else ():
            if isinstance(route, APIRoute):
                metrics.publish_route(f"{WEB}{route.path}")
    except UserError as error:
        raise SystemExit(f"The service cannot start. {error}") from None
    hot = endpoints(runtime)
    keys = accepted_keys(configured)

    @bentoml.asgi_app(create_app(runtime, hot, web))
    @bentoml.service(
        name="model_service",
        workers=configured.workers,
        traffic={"timeout": 10},
        # The interface counts its own requests: BentoML's metrics make a series of every path asked
        # for, and its access log and tracing cost several times what a prediction costs.
        metrics={"enabled": False},
        logging={"access": {"enabled": False}},
        tracing={"excluded_urls": ".*"},
        # By itself it would write among the rules in monitoring/.
        monitoring={"enabled": True, "type": "default", "options": {"log_path": "build/monitor"}},
    )
    class ModelService:
        """Serves the model that the registry's alias names."""

        application = Application(configured, served, runtime, hot, keys)

        def __init__(self) -> None:
            """Load the model in the worker."""
            runtime.load()

        @bentoml.on_startup  # type: ignore[untyped-decorator]
        async def start(self) -> None:
            """Begin what is done beside the requests."""
            await runtime.start()

        @bentoml.on_shutdown  # type: ignore[untyped-decorator]
        async def stop(self) -> None:
            """End it."""
            await runtime.stop()

        async def __is_ready__(self) -> bool:
            """Tell load balancers whether to send requests."""
            return runtime.ready

    service: Any = ModelService
    if web:
        service = bentoml.asgi_app(web, path=WEB)(service)
    service.add_asgi_middleware(Guard, keys=keys)
    # BentoML's workers import the service from the module that names it: that of the caller.
    service._caller_module = sys._getframe(1).f_globals["__name__"]
    return service


def _require_challenger(contract: Contract, configured: Settings) -> None:
    """See that there is one for an A/B test.

    Raises:
        SettingsError: there is none, or it cannot be served.
    """
    wanted = of_challenger(configured)
    try:
        load(contract, prepare(wanted), wanted.alias)
    except RegistryError as error:
        raise SettingsError(
            f"{PREFIX}EXPERIMENT: {error} Name one: make promote VERSION=... ALIAS={CHALLENGER}."
        ) from None


def _latencies() -> list[float]:
    """Return the latencies that are objectives, in seconds; none where slo.yaml is not here.

    Raises:
        SloError: it is wrong.
    """
    if not slo.SLO.exists():
        return []
    objectives = slo.read().objectives
    return [slo.seconds(objectives.latency_p50_ms), slo.seconds(objectives.latency_p99_ms)]
