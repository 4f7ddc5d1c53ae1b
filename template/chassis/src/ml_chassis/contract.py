"""What follows from a schema: columns, arrays for the model, payloads, a fingerprint."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from .personal import KEYWORD

Numeric = npt.NDArray[np.float32]
"""Numeric features, shape (rows, numeric columns), NaN where a value is missing."""
Categorical = npt.NDArray[np.object_]
"""Categorical features as text, shape (rows, categorical columns), "" where one is missing."""
Row = tuple[Any, ...]
"""The values of one row: the numeric features, then the categorical ones; None is missing."""

NUMERIC_INPUT, CATEGORICAL_INPUT = "numeric", "categorical"
"""Names in the ONNX graph."""

KEYWORDS = {
    *("title", "description", "examples", "default", "type", "anyOf"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("pattern", "maxLength", "enum", "const", KEYWORD),
}
"""What of a field's JSON schema is understood here, and so checked in training as in serving."""


LOWER, UPPER = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}


@dataclass(frozen=True)
class Table:
    """Rows as the model takes them, where they come in columns."""

    numeric: Numeric
    categorical: Categorical

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.numeric)

    def __getitem__(self, rows: slice) -> "Table":
        """Return some of the rows; no value is copied."""
        return Table(self.numeric[rows], self.categorical[rows])


Rows = Sequence[Row] | Table
Task = Literal["binary", "multiclass", "regression"]
Prediction = float | list[float]
"""What is predicted for a row: one number, or the probability of each class."""
Predictions = npt.NDArray[np.float32]
"""The same for many rows, shape (rows, *width)."""
Labels = npt.NDArray[Any]
"""Whether each label is true, or its value, or the index of its class; shape (rows,)."""


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
    max_length: int | None = None
    choices: tuple[str, ...] | None = None
    personal: bool = False


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
    if value["type"] == "string" and not (choices or value.keys() & {"pattern", "maxLength"}):
        raise TypeError(f"{name}: give choices, a pattern or a max_length; text must end somewhere")
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
        max_length=value.get("maxLength"),
        choices=tuple(choices) if choices else None,
        personal=KEYWORD in spec,
    )


def task_of(label: Column) -> Task:
    """Return what kind of model answers: by the type of the label.

    Raises:
        TypeError: the label may be missing, or is text without declared classes.
    """
    if label.nullable:
        raise TypeError(f"{label.name}: the label of a row is known; take None away")
    if label.type == "boolean":
        return "binary"
    if label.type != "string":
        return "regression"
    if not label.choices or len(label.choices) < 2:
        raise TypeError(f"{label.name}: declare the classes, as in Literal['low', 'high']")
    return "multiclass"


class Contract:
    """A schema, and what follows from it.

    Attributes:
        schema: The features, one Pydantic model.
        labelled_schema: The same and the label.
        features: The columns of the features, in the order in which the schema declares them.
        labelled: The same and the label.
        numeric: Names of the numeric features.
        categorical: Names of the categorical ones.
        by_name: The columns of the features by their names.
        personal: Names of the columns whose values are personal.
        label: The name of the label.
        label_column: Its column.
        task: What kind of model answers.
        classes: The classes between which a model of many decides, in the order of its
            probabilities; none for other tasks.
        width: Shape of the prediction for one row: (classes,) or ().
        prediction_columns: Names of the columns of predictions in tables.
        output: Name of the output in the ONNX graph.
        quality: Name of the measure by which models are judged.
        meaning: What a prediction is, in words.
    """

    def __init__(self, schema: type[BaseModel], labelled_schema: type[BaseModel]) -> None:
        """Derive everything.

        Raises:
            TypeError: a field cannot be a feature, or the label cannot be one; the message names
                it.
        """
        self.schema, self.labelled_schema = schema, labelled_schema
        self.features, self.labelled = columns(schema), columns(labelled_schema)
        self.numeric = _names(self.features, "numeric")
        self.categorical = _names(self.features, "categorical")
        self.by_name = {column.name: column for column in self.features}
        self.personal = tuple(column.name for column in self.labelled if column.personal)
        labels = [column for column in self.labelled if column not in self.features]
        if len(labels) != 1:
            raise TypeError(
                f"{labelled_schema.__name__}: add one field, the label, to the features"
            )
        self._check_examples()
        (label,) = labels
        self.label, self.label_column = label.name, label
        self.task: Task = task_of(label)
        self.classes: tuple[str, ...] = (label.choices or ()) if self.task == "multiclass" else ()
        self.width: tuple[int, ...] = (len(self.classes),) if self.classes else ()
        self.prediction_columns = [f"prediction of {each}" for each in self.classes] or [
            "prediction"
        ]
        self.output = "value" if self.task == "regression" else "probability"
        self.quality: Literal["auc", "r2"] = "r2" if self.task == "regression" else "auc"
        self.meaning = {
            "binary": "Probability that the label is true",
            "multiclass": "Probability of each class",
            "regression": "Predicted value of the label",
        }[self.task]
        self._order = (*self.numeric, *self.categorical)
        self._nullable_text = any(
            column.nullable for column in self.features if column.kind == "categorical"
        )

    def _check_examples(self) -> None:
        """Make sure that the examples are valid; a feature may have none.

        Raises:
            TypeError: one is not.
        """
        given = {name: value for name, value in self.example_row().items() if value is not None}
        try:
            self.schema.model_validate_json(json.dumps(given))
        except ValidationError as error:
            for each in error.errors():
                if each["type"] != "missing":
                    raise TypeError(f"{each['loc'][0]}: its example: {each['msg']}") from None

    def to_row(self, values: Mapping[str, Any]) -> Row:
        """Return the values of a row in the order of the model's inputs."""
        return tuple(values.get(name) for name in self._order)

    def to_arrays(self, rows: Sequence[Row]) -> tuple[Numeric, Categorical]:
        """Return the model's inputs for rows of raw values."""
        width, numbers = len(self._order), len(self.numeric)
        values = np.fromiter(chain.from_iterable(rows), np.object_, len(rows) * width)
        table = values.reshape(len(rows), width)
        categorical = np.ascontiguousarray(table[:, numbers:])
        if self._nullable_text:
            categorical = np.where(categorical == None, "", categorical)  # noqa: E711 - per element
        return table[:, :numbers].astype(np.float32), categorical

    def to_inputs(self, parts: Sequence[Rows]) -> tuple[Numeric, Categorical]:
        """Return the model's inputs for the rows of all parts, in their order."""
        rows = [part for part in parts if not isinstance(part, Table)]
        if len(rows) == len(parts):
            return self.to_arrays(list(chain.from_iterable(rows)))
        tables = [
            part if isinstance(part, Table) else Table(*self.to_arrays(part)) for part in parts
        ]
        numeric = np.concatenate([table.numeric for table in tables])
        return numeric, np.concatenate([table.categorical for table in tables])

    def named(self, predictions: list[Prediction]) -> list[Any]:
        """Return predictions as a client reads them: where there are classes, by their names."""
        if not self.classes:
            return predictions
        return [
            dict(zip(self.classes, cast(list[float], each), strict=True)) for each in predictions
        ]

    def example_row(self) -> dict[str, Any]:
        """Return one valid row, made of the first example of each feature."""
        return {column.name: column.example for column in self.features}

    def example_arrays(self) -> tuple[Numeric, Categorical]:
        """Return the same row as the model takes it."""
        return self.to_arrays([self.to_row(self.example_row())])

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the schema, its descriptions aside.

        A model serves only the schema that it was trained on.
        """
        meaning = [replace(column, description="", example=None) for column in self.labelled]
        return hashlib.sha256(repr(meaning).encode()).hexdigest()


def _names(described: list[Column], kind: Literal["numeric", "categorical"]) -> tuple[str, ...]:
    return tuple(column.name for column in described if column.kind == kind)
