"""What follows from the schema: columns, arrays for the model, payloads, fingerprints."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from .schema import Features, LabelledFeatures

Numeric = npt.NDArray[np.float32]
"""Numeric features, shape (rows, numeric columns), NaN where a value is missing."""
Categorical = npt.NDArray[np.object_]
"""Categorical features as text, shape (rows, categorical columns), "" where one is missing."""

NUMERIC_INPUT, CATEGORICAL_INPUT, OUTPUT = "numeric", "categorical", "probability"
"""Names in the ONNX graph."""

KEYWORDS = {
    *("title", "description", "examples", "default", "type", "anyOf"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "enum", "const"),
}
"""What of a field's JSON schema is understood here, and so checked in training as in serving."""


LOWER, UPPER = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}


@dataclass(frozen=True)
class Column:
    """One field of the schema, as its JSON schema describes it."""

    name: str
    kind: Literal["numeric", "categorical"]
    type: str
    description: str
    example: Any
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    pattern: str | None = None
    choices: tuple[str, ...] | None = None


def columns(model: type[BaseModel]) -> list[Column]:
    """Return the columns of a schema in the order in which it declares them.

    Raises:
        TypeError: a field is neither a bounded number, a boolean nor text, or has a condition
            that training could not check.
    """
    decorators = model.__pydantic_decorators__
    if decorators.field_validators or decorators.model_validators or decorators.validators:
        raise TypeError(f"{model.__name__}: use bounds, patterns and choices, not validators")
    return [_column(name, spec) for name, spec in model.model_json_schema()["properties"].items()]


def _column(name: str, spec: dict[str, Any]) -> Column:
    options = spec.get("anyOf", [spec])
    values = [option for option in options if option.get("type") != "null"]
    if len(values) != 1 or values[0].get("type") not in {"number", "integer", "boolean", "string"}:
        raise TypeError(f"{name}: declare a number, a boolean or text, or one of them or None")
    value = {**values[0], **spec}
    if unknown := value.keys() - KEYWORDS:
        raise TypeError(f"{name}: training cannot check {', '.join(sorted(unknown))}")
    bounded = value.keys() & LOWER and value.keys() & UPPER
    if value["type"] in {"number", "integer"} and not bounded:
        raise TypeError(f"{name}: give a lower and an upper bound; what is outside is impossible")
    choices = (value["const"],) if "const" in value else value.get("enum")
    return Column(
        name=name,
        kind="categorical" if value["type"] == "string" else "numeric",
        type=value["type"],
        description=spec.get("description", ""),
        example=next(iter(spec.get("examples", [])), None),
        nullable=len(options) > 1,
        minimum=value.get("minimum"),
        maximum=value.get("maximum"),
        above=value.get("exclusiveMinimum"),
        below=value.get("exclusiveMaximum"),
        pattern=value.get("pattern"),
        choices=tuple(choices) if choices else None,
    )


FEATURES = columns(Features)
LABELLED = columns(LabelledFeatures)
NUMERIC = tuple(column.name for column in FEATURES if column.kind == "numeric")
CATEGORICAL = tuple(column.name for column in FEATURES if column.kind == "categorical")
(LABEL,) = (column.name for column in LABELLED if column not in FEATURES)


def to_arrays(rows: Iterable[Mapping[str, Any]]) -> tuple[Numeric, Categorical]:
    """Return the model's inputs for rows of raw values; a missing value is None or absent."""
    rows = list(rows)
    numeric = [[row.get(name) for name in NUMERIC] for row in rows]
    categorical = [[row.get(name) or "" for name in CATEGORICAL] for row in rows]
    return (
        np.array(numeric, dtype=np.float32).reshape(len(rows), len(NUMERIC)),
        np.array(categorical, dtype=np.object_).reshape(len(rows), len(CATEGORICAL)),
    )


def example_row() -> dict[str, Any]:
    """Return one valid row, made of the first example of each feature."""
    return {column.name: column.example for column in FEATURES}


@cache
def schema_hash() -> str:
    """Return the fingerprint of the schema, its descriptions aside.

    A model serves only the schema that it was trained on.
    """
    meaning = [replace(column, description="", example=None) for column in LABELLED]
    return hashlib.sha256(repr(meaning).encode()).hexdigest()
