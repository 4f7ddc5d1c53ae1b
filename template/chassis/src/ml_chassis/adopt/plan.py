"""What `make adopt` found out about a table, and what will be written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..contract import Task
from ..data.tables import Csv, Type

Reason = Literal[
    "asked", "constant", "empty", "identifier", "text", "time", "duplicate", "leak", "personal"
]


@dataclass(frozen=True)
class Feature:
    """A column that becomes a feature.

    Attributes:
        name: Identifier in schema.py.
        column: Name in the file's header, as `data.sources.header` gives it.
        type: What values are; text is categorical.
        nullable: Whether a value may be missing.
        minimum: Least possible number, inclusive.
        maximum: Greatest possible number, inclusive.
        choices: All possible texts; None where others may come.
        max_length: Of a text that has no choices.
        example: A value of a row in the file.
        personal: Whether its values are to be masked.
    """

    name: str
    column: str
    type: Type
    nullable: bool
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...] | None
    max_length: int | None
    example: str | int | float | bool
    personal: bool = False


@dataclass(frozen=True)
class Label:
    """The column that is predicted.

    Attributes:
        name: Identifier in schema.py.
        column: Name in the file's header.
        type: What its values are in the file.
        task: What kind of model answers.
        classes: The values of a multiclass label; of a binary one false, then true, as text.
        minimum: Least possible number of a regression, inclusive.
        maximum: Greatest possible number of a regression, inclusive.
        example: A value of a row in the file.
    """

    name: str
    column: str
    type: Type
    task: Task
    classes: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    example: str | int | float | bool


@dataclass(frozen=True)
class LeftOut:
    """A column that becomes no feature, and why, in words for a person."""

    column: str
    type: Type
    reason: Reason
    words: str


@dataclass(frozen=True)
class Plan:
    """The whole.

    Attributes:
        data: The file.
        csv: How it is written.
        missing: Its words that say that a value is missing, besides MISSING_WORDS.
        rows: Number of rows with a label.
        label: What is predicted.
        features: In the order of the file.
        left_out: The other columns, except key and time.
        key: Columns that name a row; () where none do.
        time: Column that says when a row is about; None where there is none.
        notes: What a person should know or decide, a sentence each.
    """

    data: Path
    csv: Csv
    missing: tuple[str, ...]
    rows: int
    label: Label
    features: tuple[Feature, ...]
    left_out: tuple[LeftOut, ...]
    key: tuple[str, ...]
    time: str | None
    notes: tuple[str, ...]
