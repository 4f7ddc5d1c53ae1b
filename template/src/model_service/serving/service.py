"""The BentoML service: lifecycle, health and configuration around the HTTP interface.

`make serve` and the image start it through `production.py`. `bentoml serve`, in the root of the
project, starts it too; BentoML then tells its makers of the start unless
BENTOML_DO_NOT_TRACK=True is set.
"""

import bentoml

from .. import settings
from ..errors import UserError
from ..web import create_web
from .api import create_app, endpoints
from .champion import load
from .follow import prepare
from .guard import Guard, accepted_keys
from .openapi import WEB
from .runtime import Runtime

# The supervisor imports this module before it starts workers: a mistake ends here, with a message,
# and not in workers that fail again and again.
try:
    SETTINGS = settings.read()
    SERVED = load(prepare(SETTINGS), SETTINGS.alias)
    runtime = Runtime(SETTINGS)
    web = create_web(runtime)
except UserError as error:
    raise SystemExit(f"The service cannot start. {error}") from None

hot = endpoints(runtime)
KEYS = accepted_keys(SETTINGS)


@bentoml.asgi_app(web, path=WEB)
@bentoml.asgi_app(create_app(runtime, hot, web))
@bentoml.service(
    name="model_service",
    workers=SETTINGS.workers,
    traffic={"timeout": 10},
    # The interface counts its own requests: BentoML's metrics make a series of every path asked
    # for, and its access log and tracing cost several times what a prediction costs.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class ModelService:
    """Serves the model that the registry's alias names."""

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


ModelService.add_asgi_middleware(Guard, keys=KEYS)  # type: ignore[attr-defined]
