"""The BentoML service: lifecycle, health and configuration around the HTTP interface.

Start it with `make serve`, or with `bentoml serve` in the root of the project; the latter tells
BentoML of the start unless BENTOML_DO_NOT_TRACK=True is set.
"""

import os

import bentoml

from .. import registry, settings
from ..errors import UserError
from .api import Served, app
from .drain import Drain
from .predictor import Predictor

# The supervisor imports this module before it starts workers: a mistake ends here, with a message,
# and not in workers that fail again and again.
try:
    SETTINGS = settings.read()
    MODEL, MANIFEST = registry.load(SETTINGS.models_dir, SETTINGS.alias)
    registry.require_schema(MANIFEST)
    PREDICTOR = Predictor(MODEL)
except UserError as error:
    raise SystemExit(f"The service cannot start. {error}") from None
# Workers inherit it: one that is replaced later serves the same version as the others.
os.environ[f"{settings.PREFIX}ALIAS"] = MANIFEST.version


@bentoml.asgi_app(app)
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
        """Give the model, which has answered an example by now, to the HTTP interface."""
        self._drain = Drain(SETTINGS.drain_seconds)
        app.state.served = Served(PREDICTOR, MANIFEST.version, SETTINGS, self._drain)

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def drain_on_sigterm(self) -> None:
        """Answer on for a while after SIGTERM."""
        self._drain.install()

    async def __is_ready__(self) -> bool:
        """Tell load balancers whether to send requests."""
        return not self._drain.active
