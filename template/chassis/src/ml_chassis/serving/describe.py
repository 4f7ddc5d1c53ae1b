"""Pieces of an OpenAPI document."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from .decode import Decoder

JSON = "application/json"
SCHEMAS = "#/components/schemas/"
REFUSALS = {
    "400": "The body cannot be read.",
    "408": "The body came too slowly.",
    "413": "The body is too long.",
    "415": "The body is compressed or written in a way that is not understood.",
    "422": "A row is not valid, or there are too many.",
    "429": "The service has too much to do.",
    "500": "The service failed.",
    "503": "The model gave no answer.",
    "504": "The model gave no answer in time.",
}
PROTOCOL_REFUSALS = REFUSALS | {"400": "The body or a row is not valid."}
del PROTOCOL_REFUSALS["422"]  # is 400 in the protocols of other servers
DEGRADED = {
    "degraded": {
        "description": "Why the fallback answered instead of the model; absent otherwise.",
        "schema": {"type": "string"},
    }
}

Json = dict[str, Any]
ROWS: Json = {"type": "array", "items": {"$ref": f"{SCHEMAS}Features"}, "minItems": 1}
TEXT: Json = {"text/plain": {"schema": {"type": "string"}}}


class Part(NamedTuple):
    """What one protocol adds to the document."""

    paths: Json
    schemas: Json


def columns(decoder: Decoder) -> Json:
    """Return the schema of rows that come as an object of columns."""
    features = decoder.messages.row.model_json_schema()
    return {
        "type": "object",
        "properties": {
            name: {"type": "array", "items": values, "minItems": 1}
            for name, values in features["properties"].items()
        },
        "required": features.get("required", []),
        "additionalProperties": False,
    }


def response(description: str, *content: Json, **more: Any) -> Json:
    """Return what one status means, in each of the media types."""
    return {"description": description, "content": _merged(content), **more}


def media(schema: Json | str, media_type: str = JSON, **more: Any) -> Json:
    """Return one media type of a body, described by a schema or the name of one."""
    named = {"$ref": SCHEMAS + schema} if isinstance(schema, str) else schema
    return {media_type: {"schema": named, **more}}


def any_of(*names: str) -> Json:
    """Return what is described by one of the schemas."""
    return {"anyOf": [{"$ref": SCHEMAS + name} for name in names]}


def refusals(schema: str, meanings: Mapping[str, str]) -> Json:
    """Return the responses to requests that are not answered, by status."""
    return {status: response(text, media(schema)) for status, text in meanings.items()}


def shown(
    name: str,
    summary: str,
    content: Json,
    parameters: Sequence[Json] = (),
    probe: bool = False,
    error: str = "",
) -> Json:
    """Return a path that is asked with GET.

    Args:
        name: Unique name of the operation.
        summary: What is shown.
        content: The media types in which it is.
        parameters: What the path holds.
        probe: Whether it is answered with 503 while the service is not ready.
        error: Schema of a refusal, where the path holds something.
    """
    responses = {"200": response(summary, content)}
    if probe:
        responses["503"] = response("Starting or stopping.", content)
    responses |= _not_found(error, parameters)
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "parameters": list(parameters),
            "responses": responses,
        }
    }


def predicts(
    name: str,
    sent: Sequence[Json],
    answered: Sequence[Json],
    error: str,
    parameters: Sequence[Json] = (),
) -> Json:
    """Return an operation of another server's protocol that predicts.

    Args:
        name: Unique name of the operation.
        sent: The media types of a request.
        answered: The media types of an answer.
        error: Schema of a refusal.
        parameters: What the path and the headers hold.
    """
    good = response("One prediction per row.", *answered, headers=DEGRADED)
    return {
        "operationId": name,
        "summary": "Predict one or many rows.",
        "parameters": list(parameters),
        "requestBody": {"required": True, "content": _merged(sent)},
        "responses": {
            "200": good,
            **refusals(error, PROTOCOL_REFUSALS),
            **_not_found(error, parameters),
        },
    }


def _not_found(error: str, parameters: Sequence[Json]) -> Json:
    if not any(each["in"] == "path" for each in parameters):
        return {}
    meaning = "Another version is served; in plain text, that there can be no such path."
    return {"404": response(meaning, media(error), TEXT)}


def parameter(name: str, place: str, description: str, **schema: Any) -> Json:
    """Return a parameter in the path, the query or a header."""
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": schema,
    }


def versions(model: str, version: str, name: str) -> Iterator[tuple[str, str, list[Json]]]:
    """Yield the path of the model, and that of a version.

    With each comes what tells the names of its operations apart, and its parameters.

    Args:
        model: Template of the path of the model that is served.
        version: Template of the path of one version of it.
        name: Name of the model.
    """
    yield model.format(name=name), "", []
    pinned = parameter(
        "version", "path", "A version; others than the one served are refused.", type="string"
    )
    yield version.format(name=name, version="{version}"), "_version", [pinned]


def schemas(*types: type[msgspec.Struct]) -> Json:
    """Return the schemas of messages, by name."""
    return msgspec.json.schema_components(types, ref_template=f"{SCHEMAS}{{name}}")[1]


def _merged(content: Iterable[Json]) -> Json:
    return {media_type: described for each in content for media_type, described in each.items()}
