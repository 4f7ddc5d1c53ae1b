"""What is compared, how each server is started, and the loads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Literal, NamedTuple

Format = Literal["JSON", "Arrow"]


class Load(NamedTuple):
    """Rows in a request, and clients that each send one when their last one is answered."""

    rows: int
    clients: int
    format: Format = "JSON"  # of the requests and of the answers

    def __str__(self) -> str:
        """Say it in words."""
        words = [(self.rows, "row"), (self.clients, "client")]
        text = ", ".join(f"{count:,} {word}{'s' * (count > 1)}" for count, word in words)
        return text if self.format == "JSON" else f"{text}, {self.format}"


FORMATS: tuple[Format, ...] = ("Arrow", "JSON")
LOADS = [Load(*load) for load in product((1, 100), (1, 16, 64))]
# What only the generated service is asked, to compare the formats that it takes.
TABLES = [Load(*load) for load in product((100, 1000), (1, 16), FORMATS)]


@dataclass(frozen=True)
class Contestant:
    """A server. In its command and settings, `{port}` to `{port3}` are free ports.

    `{home}` is a folder of its own.
    """

    title: str
    environment: Literal["project", "others", "mlserver"]
    command: tuple[str, ...]
    role: Literal["ours", "competitor", "limit"] = "competitor"
    settings: Mapping[str, str] = field(default_factory=dict)
    path: str = "/predict"
    payload: Literal["rows", "tensors"] = "rows"


PRODUCTION = ("chassis", "serve")
ONE_WORKER = {"MODEL_SERVICE_PORT": "{port}", "MODEL_SERVICE_WORKERS": "1"}
TWO_WORKERS = {**ONE_WORKER, "MODEL_SERVICE_WORKERS": "2"}


def uvicorn(application: str) -> tuple[str, ...]:
    """Return the command for one worker; uvicorn takes uvloop and httptools where it finds them."""
    return ("uvicorn", application, "--port={port}", "--no-access-log", "--log-level=warning")


def bentoml(*service: str) -> tuple[str, ...]:
    """Return the command for a service as it is configured."""
    return ("bentoml", "serve", *service, "--port={port}")


CONTESTANTS = {
    "ours": Contestant("generated service", "project", PRODUCTION, "ours", ONE_WORKER),
    "ours-2-workers": Contestant(
        "generated service, 2 workers", "project", PRODUCTION, "ours", TWO_WORKERS
    ),
    "ours-bentoml": Contestant("generated service, bentoml serve", "project", bentoml(), "ours"),
    "fastapi-sklearn": Contestant(
        "FastAPI + scikit-learn", "others", uvicorn("fastapi_sklearn:app")
    ),
    "fastapi-sklearn-1-thread": Contestant(
        "FastAPI + scikit-learn, 1 thread",
        "others",
        uvicorn("fastapi_sklearn:app"),
        settings={"OMP_NUM_THREADS": "1"},
    ),
    "fastapi-onnx": Contestant("FastAPI + ONNX Runtime", "others", uvicorn("fastapi_onnx:app")),
    "bentoml-sklearn": Contestant(
        "BentoML quickstart + scikit-learn", "others", bentoml("bentoml_sklearn:Delays")
    ),
    "bentoml-onnx": Contestant(
        "BentoML defaults + ONNX Runtime", "others", bentoml("bentoml_onnx:Delays")
    ),
    "litserve-onnx": Contestant(
        "LitServe + ONNX Runtime", "others", ("python", "litserve_onnx.py", "{port}")
    ),
    "mlserver-onnx": Contestant(
        "MLServer + ONNX Runtime",
        "mlserver",
        ("mlserver", "start", "."),
        settings={
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{port2}",
            "MLSERVER_METRICS_PORT": "{port3}",
            "MLSERVER_METRICS_DIR": "{home}/metrics",
            "MLSERVER_ENVIRONMENTS_DIR": "{home}/environments",
            "MLSERVER_DEBUG": "false",  # or it logs each request
            "MLSERVER_PARALLEL_WORKERS": "0",  # in one process it is about twice as fast
            "MLSERVER_MODEL_NAME": "delays",
            "MLSERVER_MODEL_IMPLEMENTATION": "mlserver_onnx.Delays",
        },
        path="/v2/models/delays/infer",
        payload="tensors",
    ),
    "limit": Contestant(
        "limit: uvicorn + msgspec + ONNX Runtime", "others", uvicorn("limit:app"), "limit"
    ),
    "limit-batched": Contestant("limit, with batches", "others", uvicorn("limit:batched"), "limit"),
}
