"""What is predicted, and by what kind of model."""

import polars as pl

from ..contract import Task
from ..data.tables import Type
from . import AdoptError
from .columns import Column, bounds
from .plan import Label

MIN_ROWS = 40
MIN_OF_CLASS = 8
MAX_CLASSES = 50
MAX_CODES = 10
"""Whole numbers with no more values are classes, unless TASK says otherwise."""
TRUE_WORDS = {
    *("yes", "y", "true", "t", "1", "+", "positive", "pos", "high", "bad", "fail", "failed"),
    *("ja", "j", "wahr", "oui", "vrai", "si", "sí", "sim", "da", "malignant", "sick", "spam"),
}
"""Of two texts, these say that the label is true."""


def label_of(column: Column, name: str, task: str | None) -> Label:
    """Return the label that a column makes.

    Args:
        column: The column.
        name: Its identifier.
        task: "classification", "regression", or None: as the values suggest.

    Raises:
        AdoptError: no model can be trained on it, or not of that kind.
    """
    known = column.known
    if len(known) < MIN_ROWS:
        raise AdoptError(
            f"Only {len(known)} rows have a value of {column.name!r}: a model needs {MIN_ROWS} "
            "and more to be trained and judged."
        )
    if column.different < 2:
        raise AdoptError(f"{column.name!r} is always {known[0]}: there is nothing to predict.")
    if _is_number(column, task):
        low, high = bounds(float(known.min()), float(known.max()))  # type: ignore[arg-type]
        return Label(name, column.name, column.type, "regression", (), low, high, known[0])
    return _classes(column, name)


def _is_number(column: Column, task: str | None) -> bool:
    numeric = column.type in {int, float}
    if task == "regression" and not numeric:
        raise AdoptError(
            f"{column.name!r} holds {_kind(column)}, such as {_example(column)!r}: "
            "leave TASK=regression out, or choose a column of numbers."
        )
    if task or not numeric or column.different == 2:
        return task == "regression"
    if column.different > MAX_CODES or not _whole(column.known):
        return True
    return bool(column.known.value_counts()["count"].min() < MIN_OF_CLASS)  # type: ignore[operator]


def _kind(column: Column) -> str:
    return {bool: "yes and no", str: "text"}.get(column.type, "times")


def _example(column: Column) -> str:
    return str(column.known[0])


def _whole(values: pl.Series) -> bool:
    return bool((values == values.floor()).all())


def _classes(column: Column, name: str) -> Label:
    if column.type is float and not _whole(column.known):
        raise AdoptError(
            f"{column.name!r} holds fractions, such as {column.known[0]}: leave "
            "TASK=classification out, or choose a column of classes."
        )
    kind: Type = int if column.type is float else column.type
    values = column.known.cast(pl.Int64) if kind is int else column.known
    counts = values.value_counts().sort(values.name)
    if len(counts) > MAX_CLASSES:
        raise AdoptError(
            f"{column.name!r} has {len(counts):,} different values, more than {MAX_CLASSES} "
            "classes: choose a column with fewer, or join rare values in the file first."
        )
    if rare := counts.filter(pl.col("count") < MIN_OF_CLASS)[values.name].to_list():
        raise AdoptError(
            f"{column.name!r} has fewer than {MIN_OF_CLASS} rows with {_listed(rare)}: join such "
            "classes with others in the file, or take their rows out."
        )
    ordered = counts[values.name].to_list()
    if kind is bool:
        ordered = [False, True]
    elif len(ordered) == 2:
        ordered = _false_and_true(ordered, counts)
    task: Task = "binary" if len(ordered) == 2 else "multiclass"
    example = values[0]
    return Label(name, column.name, kind, task, tuple(map(str, ordered)), None, None, example)


def _false_and_true(values: list[str] | list[int], counts: pl.DataFrame) -> list[str | int]:
    """Return what is false, then what is true: the greater number, a known word, the rarer."""
    if isinstance(values[0], int):
        return list(values)
    true = [value for value in values if str(value).lower() in TRUE_WORDS]
    if len(true) == 1:
        return sorted(values, key=lambda value: value in true)
    return list(counts.sort("count", descending=True, maintain_order=True).to_series())


def _listed(values: list[object]) -> str:
    shown = ", ".join(map(str, values[:5]))
    return f"{shown} and {len(values) - 5} more" if len(values) > 5 else shown
