"""Find what can drift: a feature that is a column of a raw table, and a rare value of it."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import polars as pl

from ...contract import Column
from ...data.clean import clean
from ...data.tables import RawTable
from ...errors import UserError
from ...project import Project
from ...serving.predictor import Predictor
from ...training.dataset import to_dataset
from .coming import SEED, Amount, Change, coming

SHARE = 0.4
"""Of the rows that are asked."""
RARE = 0.25
"""Of the rows of training, the share that may have the value: of more, the shift is a small one."""
HIGH = 0.99
"""The quantile of a number that it takes."""
COMPARED = 1_000
"""Rows of which it is seen how much a change matters."""


def find(
    project: Project,
    champion: Predictor,
    raw: Mapping[str, pl.DataFrame],
    rows: pl.DataFrame,
    expected: Collection[str],
) -> Change:
    """Return a change that reaches the features: of a category, or else of a number.

    Of several it is the one that changes the predictions least: a feature on which much depends
    tells nothing any more where it has one value, and a challenger that has lost that may not meet
    the gates.

    Args:
        project: What the rows are.
        champion: The model.
        raw: The rows of the raw tables.
        rows: With features and label, those of training.
        expected: Features of which no drift is told.

    Raises:
        UserError: there is none.
    """
    possible = [
        change
        for table, column in _candidates(project)
        if column.name not in expected
        and (change := _change(table, column, rows[column.name].drop_nulls()))
    ]
    compared = rows.sample(min(rows.height, COMPARED), seed=SEED)

    def order(change: Change) -> tuple[bool, float]:
        return change.feature in project.contract.numeric, _effect(
            project, champion, compared, change
        )

    for change in sorted(possible, key=order):
        if _reaches(project, raw, change):
            return change
    raise UserError(
        "Nothing can drift: no column of a raw table is a feature of the same name and values, "
        "is not personal, and has a rare category or a rare high number."
    )


def _candidates(project: Project) -> Iterator[tuple[RawTable, Column]]:
    """Yield columns that are features, too, and whose values may be shown."""
    for column in project.contract.features:
        types = {str} if column.kind == "categorical" else {int, float}
        for table in project.tables:
            personal = column.personal or column.name in table.personal
            if table.columns.get(column.name) in types and not personal:
                yield table, column


def _change(table: RawTable, column: Column, values: pl.Series) -> Change | None:
    """Return a change to the rarest category, or to a high number; None where it is not rare."""
    if values.is_empty() or column.type == "boolean":
        return None
    if column.kind == "categorical":
        value = values.value_counts(name="rows").sort("rows", column.name)[column.name][0]
    else:
        value = values.sort()[int(HIGH * (len(values) - 1))]
    rare = (values == value).sum() <= RARE * len(values)
    return Change(table.name, column.name, value, SHARE) if rare else None


def _effect(project: Project, champion: Predictor, rows: pl.DataFrame, change: Change) -> float:
    """Return how far the predictions for rows move that all take the value, on average."""
    value = pl.lit(change.value, rows.schema[change.feature])
    changed = rows.with_columns(value.alias(change.feature))
    before, after = (
        champion.predict(data.numeric, data.categorical)
        for data in (to_dataset(project, rows), to_dataset(project, changed))
    )
    return float(np.abs(after - before).mean())


def _reaches(project: Project, raw: Mapping[str, pl.DataFrame], change: Change) -> bool:
    """Return whether rows with features that are built from changed ones have the value."""
    new = coming(project, raw, change, Amount(1, 1))
    built = clean(project.build({**raw, **new}), project.contract.labelled, project.private)
    rows = built.valid.to_native()
    return rows.height > 0 and bool((rows[change.feature] == change.value).fill_null(False).all())
