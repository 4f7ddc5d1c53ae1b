"""The OpenAPI document, made of the messages; each protocol adds its own part."""

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from ..contract import Contract
from ..feedback.sample import ARMS
from ..settings import Settings
from . import feedback, protocols
from .arrow_reader import ARROW
from .decode import Decoder
from .describe import DEGRADED, REFUSALS, SCHEMAS, TEXT, Json, media, refusals, response, shown
from .guard import OPEN
from .messages import Problem, Refusal
from .split import ARM

KEY: Json = {
    "type": "http",
    "scheme": "bearer",
    "description": "Asked for if MODEL_SERVICE_API_KEYS is set.",
}
WEB = "/api"
"""Where the routes of web.py are."""
DEFAULT_NAME: str = Settings.model_fields["model_name"].default


def document(
    contract: Contract,
    name: str = DEFAULT_NAME,
    web: FastAPI | None = None,
    takes_labels: bool = False,
    unit: str = "",
) -> Json:
    """Return the OpenAPI 3.1 document of the service.

    Args:
        contract: The schema.
        name: Name of the model in the paths of other servers' protocols.
        web: Routes of your own.
        takes_labels: Whether there is a database for them.
        unit: Header that names the unit of an A/B test; "" is no test.

    Raises:
        ValueError: a message of yours has the name of another one.
    """
    decoder = Decoder(contract)
    _, definitions = models_json_schema(
        [
            (decoder.messages.request, "validation"),
            (decoder.messages.response, "serialization"),
            (Refusal, "serialization"),
            *(feedback.messages(contract) if takes_labels else ()),
        ],
        ref_template=f"{SCHEMAS}{{model}}",
    )
    paths: Json = {
        "/predict": {"post": {**_predict(contract), **_parameters(unit)}},
        **({"/feedback": {"post": feedback.described(contract)}} if takes_labels else {}),
        "/": _front_page(),
        "/livez": shown("alive", "The process is alive.", TEXT),
        "/readyz": shown("ready", "The model answers.", TEXT, probe=True),
        "/metrics": shown("metrics", "Metrics in the text format of Prometheus.", TEXT),
    }
    schemas: Json = definitions["$defs"]
    for part in protocols.parts(decoder, name):
        paths |= part.paths
        schemas |= part.schemas
    if web:
        _add(web.openapi(), paths, schemas)
    for path, operations in paths.items():
        if path not in OPEN:
            for operation in operations.values():
                _ask_for_key(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "model_service", "version": "1"},
        "servers": [{"url": "."}],  # relative to this document, whatever a proxy puts before it
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"key": KEY}},
    }


def _add(own: Json, paths: Json, schemas: Json) -> None:
    messages = own.get("components", {}).get("schemas", {})
    shared = {Refusal.__name__, Problem.__name__}  # which FastAPI describes in other words
    if taken := sorted((messages.keys() & schemas) - shared):
        raise ValueError(f"web.py: give {', '.join(taken)} another name, there is one already")
    schemas |= messages | {name: schemas[name] for name in shared}
    paths |= {f"{WEB}{path}": operations for path, operations in own["paths"].items()}


def _predict(contract: Contract) -> Json:
    columns = {"description": "A column per feature, of numbers, booleans or text, uncompressed."}
    stream = {"description": "The columns prediction and prediction_id."}
    version = {"description": "In an Arrow stream's answer.", "schema": {"type": "string"}}
    request = media("PredictRequest", example={"rows": [contract.example_row()]})
    good = response(
        "One prediction per row; as an Arrow stream if the header Accept asks for it.",
        media("PredictResponse"),
        media(stream, ARROW),
        headers={**DEGRADED, "model-version": version},
    )
    return {
        "operationId": "predict",
        "summary": "Predict one or many rows.",
        "requestBody": {"required": True, "content": {**request, **media(columns, ARROW)}},
        "responses": {"200": good, **refusals("Refusal", REFUSALS)},
    }


def _parameters(unit: str) -> Json:
    """Return the headers of an A/B test."""
    if not unit:
        return {}
    words = {
        unit: "Names the unit of the A/B test, such as a customer, which one model answers always. "
        "Without it, the request is not in the test.",
        ARM: "Chooses the model; then the request is not in the test.",
    }
    schemas: dict[str, Json] = {unit: {"type": "string"}, ARM: {"type": "string", "enum": [*ARMS]}}
    return {
        "parameters": [
            {"in": "header", "name": name, "description": said, "schema": schemas[name]}
            for name, said in words.items()
        ]
    }


def _ask_for_key(operation: Json) -> None:
    operation["security"] = [{}, {"key": []}]  # a service may have no keys
    refused = {"401": response("The key is missing or wrong.", media("Refusal"))}
    operation["responses"] = dict(sorted({**operation["responses"], **refused}.items()))


def _front_page() -> Json:
    text = media({"type": "object", "additionalProperties": {"type": "string"}})
    return shown("front_page", "Version of the model, path of this document.", text)
