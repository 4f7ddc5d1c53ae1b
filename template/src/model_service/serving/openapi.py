"""The OpenAPI document, made of the messages."""

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ..contract import example_row
from .messages import PredictRequest, PredictResponse, Refusal

REFUSALS = {
    "400": "The body is not JSON.",
    "408": "The body came too slowly.",
    "413": "The body is too long.",
    "422": "A row is not valid, or there are too many.",
    "500": "The service failed.",
}


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the service."""
    _, definitions = models_json_schema(
        [
            (PredictRequest, "validation"),
            (PredictResponse, "serialization"),
            (Refusal, "serialization"),
        ],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "model_service", "version": "1"},
        "paths": {
            "/predict": {"post": _predict()},
            "/": {"get": _front_page()},
            "/livez": {"get": _probe("alive", "The process is alive.")},
            "/readyz": {"get": _probe("ready", "The model answers.", "Starting or stopping.")},
            "/metrics": {"get": _probe("metrics", "Metrics in the text format of Prometheus.")},
        },
        "components": {"schemas": definitions["$defs"]},
    }


def _predict() -> dict[str, Any]:
    refusals = {status: _content(Refusal, text) for status, text in REFUSALS.items()}
    request = _content(PredictRequest, "Rows of features.")["content"]
    request["application/json"]["example"] = {"rows": [example_row()]}
    return {
        "operationId": "predict",
        "summary": "Predict one or many rows.",
        "requestBody": {"required": True, "content": request},
        "responses": {"200": _content(PredictResponse, "One prediction per row."), **refusals},
    }


def _front_page() -> dict[str, Any]:
    text = {"type": "object", "additionalProperties": {"type": "string"}}
    content = {"application/json": {"schema": text}}
    good = {"description": "Version of the model, path of this document.", "content": content}
    return {"operationId": "front_page", "summary": "What is served.", "responses": {"200": good}}


def _content(model: type[BaseModel], description: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _probe(name: str, good: str, bad: str | None = None) -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    responses = {"200": {"description": good, "content": text}}
    if bad:
        responses["503"] = {"description": bad, "content": text}
    return {"operationId": name, "summary": good, "responses": responses}
