"""Raw rows that come after the champion was trained: those it knows again, of which some changed.

They show how drift is noticed and learnt. How good the challenger would be on rows that nobody has
seen they cannot show, as it was trained on the same rows of before.
"""

import math
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

import polars as pl
import polars.selectors as cs

from ...data.parse import DTYPES
from ...data.tables import RawTable
from ...errors import UserError
from ...project import Project
from ...training.config import TrainingConfig

WEEKS = timedelta(weeks=52)
"""Times move on by a multiple of it, so that weekdays and, nearly, seasons stay."""
MOST = 0.65
"""Of the rows that come, the share that may change: of more, the newest, on which the challenger is
evaluated, would be too unlike those that are asked."""
SEED = 1


class Change(NamedTuple):
    """What drifts.

    Attributes:
        table: Name of the raw table.
        feature: Name of a feature, and of a column of the table.
        value: What it becomes.
        share: Of the rows that are asked, those that take it.
    """

    table: str
    feature: str
    value: Any
    share: float


class Amount(NamedTuple):
    """How many rows come.

    Attributes:
        copies: How often each row of before comes.
        share: Of them, those that take the changed value.
    """

    copies: int
    share: float


def tables(project: Project, change: Change) -> list[RawTable]:
    """Return the raw tables of which rows come; others hold at any time, and stay as they are."""
    return [each for each in project.tables if each.time or each.name == change.table]


def step(project: Project, raw: Mapping[str, pl.DataFrame]) -> timedelta:
    """Return how far the times of all tables move, so that they come after all of before."""
    times = (raw[each.name][each.time] for each in project.tables if each.time)
    ends = [end for each in times if len(each) for end in (each.min(), each.max())]
    known = cast(list[datetime], ends)
    return ((max(known) - min(known)) // WEEKS + 1) * WEEKS if known else timedelta()


def amount(config: TrainingConfig, rows: pl.DataFrame, moved: timedelta, share: float) -> Amount:
    """Return how many rows must come, so that `share` of those of the next training have the value.

    A retraining keeps the newest days for evaluation, and asks for some new rows.

    Args:
        config: What training.toml says.
        rows: Those with features, of before; one at least.
        moved: How far times move.
        share: Of rows of training.
    """
    copies = max(1, math.ceil(config.retraining.minimum_new_rows / rows.height))
    while True:
        before, new = _trained_on(config, rows, moved, copies)
        if new and share * (before + new) <= MOST * new:
            return Amount(copies, share * (before + new) / new)
        copies += 1


def coming(
    project: Project, raw: Mapping[str, pl.DataFrame], change: Change, asked: Amount
) -> dict[str, pl.DataFrame]:
    """Return the rows that come, by raw table.

    Args:
        project: What the rows are.
        raw: The rows of before, by raw table.
        change: What changes.
        asked: How many come.

    Raises:
        UserError: a raw table has a key that cannot be made new.
    """
    moved = step(project, raw)
    found = {}
    for table in tables(project, change):
        copies = [
            _again(project, table, raw[table.name], number, moved)
            for number in range(1, asked.copies + 1)
        ]
        found[table.name] = pl.concat(copies)
    found[change.table] = _changed(project, found[change.table], change, asked.share)
    return found


def some(rows: int, share: float) -> list[bool]:
    """Return for each of many rows whether it belongs to a share of them, the same ones always."""
    drawn = random.Random(SEED)  # noqa: S311 - no secret is made of it
    return [drawn.random() < share for _ in range(rows)]


def _trained_on(
    config: TrainingConfig, rows: pl.DataFrame, moved: timedelta, copies: int
) -> tuple[int, int]:
    """Return how many rows of before, and of those that come, the next model is trained on."""
    if config.project.time is None:  # of both the same share
        return rows.height, copies * rows.height
    times = rows[config.project.time]
    before = times.dt.date()
    new = pl.concat([(times + number * moved).dt.date() for number in range(1, copies + 1)])
    days = pl.concat([before, new]).unique().sort()
    first = days[-min(config.retraining.evaluation_days, len(days))]
    return int((before < first).sum()), int((new < first).sum())


def _again(
    project: Project, table: RawTable, rows: pl.DataFrame, number: int, moved: timedelta
) -> pl.DataFrame:
    """Return the copy of rows with a number, from 1: later, or under new keys."""
    if table.time:
        rows = rows.with_columns(cs.datetime() + number * moved)
    if table.key and table.time not in table.key and rows.height:
        rows = rows.with_columns(_new_key(project, table, rows, number))
    return rows


def _new_key(project: Project, table: RawTable, rows: pl.DataFrame, number: int) -> pl.Expr:
    """Return a column of the key with values that no row has.

    Raises:
        UserError: there is no such column that is no feature.
    """
    for name in table.key:
        kind = table.columns[name]
        if name in project.contract.by_name or kind not in {int, str}:
            continue
        if kind is str:
            return pl.col(name) + f"~{number}"
        span = cast(int, rows[name].max()) - cast(int, rows[name].min())
        return pl.col(name) + number * (span + 1)
    raise UserError(
        f"Rows of the raw table {table.name} cannot come under new keys: of {', '.join(table.key)} "
        f"in {project.path('tables')} none is a text or a whole number that is no feature."
    )


def _changed(project: Project, rows: pl.DataFrame, change: Change, share: float) -> pl.DataFrame:
    """Return rows of which some have the value; of those that have equal keys now, the first."""
    (table,) = (each for each in project.tables if each.name == change.table)
    value = pl.lit(change.value, DTYPES[table.columns[change.feature]])
    chosen = pl.lit(pl.Series(some(rows.height, share), dtype=pl.Boolean))
    column = pl.when(chosen).then(value).otherwise(change.feature).alias(change.feature)
    rows = rows.with_columns(column)
    return rows.unique(table.key, keep="first", maintain_order=True) if table.key else rows
