"""The protocols of other servers: their clients are answered without a change on their side."""

from starlette.routing import Route

from ..decode import Decoder
from ..describe import Part
from ..endpoint import Endpoint
from ..runtime import Runtime
from . import mlflow, open_inference, tensorflow_serving, torchserve

PROTOCOLS = (open_inference, tensorflow_serving, torchserve, mlflow)


def endpoints(runtime: Runtime) -> dict[str, Endpoint]:
    """Return what answers requests for predictions of the model by its name alone, by path."""
    name = runtime.settings.model_name
    return {
        path.format(name=name): endpoint
        for protocol in PROTOCOLS
        for path, endpoint in protocol.endpoints(runtime).items()
        if "{version}" not in path
    }


def routes(runtime: Runtime) -> list[Route]:
    """Return all routes: predictions of a version, other names, and what is asked with GET."""
    found: list[Route] = []
    for protocol in PROTOCOLS:
        for path, endpoint in protocol.endpoints(runtime).items():
            found.append(Route(path, endpoint))
        found += protocol.pages(runtime)
    return found


def parts(decoder: Decoder, name: str) -> list[Part]:
    """Return what the OpenAPI document says of the protocols, for a model of that name."""
    return [protocol.part(decoder, name) for protocol in PROTOCOLS]
