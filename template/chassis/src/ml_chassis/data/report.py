"""A page about the data: its sources, the quarantine, the distribution of the features."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast

import polars as pl
import sqlalchemy as sa
from markupsafe import Markup

from ..contract import Column, Contract
from ..personal import MASK
from ..project import Project
from ..reports.chart import Series, draw, named, reach
from ..reports.page import charts, code, heading, page, paragraph, table
from .store import ORIGINS, QUARANTINE, Store

MAX_LINES = 100
COUNT = sa.select(sa.func.count().label("rows")).select_from(QUARANTINE)
QUERY = "SELECT * FROM quarantine_masked WHERE reason LIKE '%missing%'"


def render(project: Project, store: Store, maximum: float | None) -> str:
    """Return the page.

    Args:
        project: What the rows are.
        store: The database.
        maximum: Which share training lets be refused of each raw table, and of the features.
    """
    rows, shares = store.features(), store.refused_shares()
    refused = sum(row["rows"] for row in store.query(COUNT))
    good = maximum is None or max(shares.values()) <= maximum
    worst = max(shares, key=lambda source: shares[source])
    title = f"Data: {rows.height:,} rows, {refused:,} refused"
    verdict = f"The largest share of refused rows is {shares[worst]:.1%}, of {worst}"
    if maximum is not None:
        verdict += f"; training {'accepts' if good else 'REFUSES'} it, up to {maximum:.1%}"
    parts = [
        paragraph(f"{verdict}. {datetime.now(UTC):%d %B %Y %H:%M} UTC."),
        heading("Sources"),
        table(["raw table", "origin", "rows", "refused", "read, UTC"], _origins(store)),
        heading("Quarantine"),
        table(["table", "reason", "rows", "latest"], _reasons(store)),
        Markup("<p>Each row is in the database: <code>{}</code></p>").format(QUERY),
        charts(_charts(project, rows)),
        heading("Feature distributions"),
        table(
            ["feature", "missing", "distribution"],
            (_values(column, rows) for column in project.contract.features),
        ),
    ]
    return page(title, good, parts)


def _origins(store: Store) -> Iterator[list[str]]:
    order = (ORIGINS.c.read_at.desc(), ORIGINS.c.source, ORIGINS.c.origin)
    for row in store.query(sa.select(ORIGINS).order_by(*order).limit(MAX_LINES)):
        counts = (f"{row['rows']:,}", f"{row['refused']:,}", f"{row['read_at']:%Y-%m-%d %H:%M}")
        yield [row["source"], code(row["origin"]), *counts]


def _reasons(store: Store) -> Iterator[list[str]]:
    last = sa.func.max(QUARANTINE.c.id).label("last")
    counted = sa.select(sa.func.count().label("rows"), last)
    groups = counted.group_by(QUARANTINE.c.source, QUARANTINE.c.reason).subquery()
    chosen = sa.select(QUARANTINE, groups.c.rows).join(groups, QUARANTINE.c.id == groups.c.last)
    for row in store.query(chosen.order_by(groups.c.rows.desc()).limit(MAX_LINES)):
        place = f", row {row['position']}" if row["position"] else ""
        yield [
            *(row["source"], row["reason"], f"{row['rows']:,}"),
            code(row["origin"]) + place,
        ]


def _charts(project: Project, rows: pl.DataFrame) -> Iterator[Markup]:
    """Yield rows and label by month."""
    if project.time is None or not rows.height:
        return
    contract = project.contract
    labels = _labels(contract)
    first = cast(datetime, rows[project.time].min())
    time = pl.col(project.time).dt
    month = 12 * (time.year().cast(pl.Int32) - first.year) + time.month() - first.month
    monthly = (
        rows.group_by(month.alias("month"))
        .agg(pl.len(), *(label.alias(name) for name, label in labels.items()))
        .sort("month")
        .rows()
    )
    across = named([_month(first, at) for at in range(monthly[-1][0] + 1)])
    counts = dict.fromkeys(range(len(across.names)), 0.0)
    counts |= {month: float(count) for month, count, *_ in monthly}
    bars = Series("rows", list(counts.items()), "bars")
    yield draw("Rows by month", [bars], [], across, reach(list(counts.values())))
    means = [
        Series(name, [(row[0] + 0.5, row[at]) for row in monthly])
        for at, name in enumerate(labels, start=2)
    ]
    up = reach([y for series in means for _, y in series.points])
    title = {
        "binary": f"Positive rate of {contract.label} by month",
        "multiclass": f"Class shares of {contract.label} by month",
        "regression": f"Mean of {contract.label} by month",
    }[contract.task]
    yield draw(title, means, [], across, up)


def _month(first: datetime, after: int) -> str:
    """Return the name of the month that comes so many months after that of a time."""
    year, month = divmod(first.month - 1 + after, 12)
    return f"{datetime(first.year + year, month + 1, 1, tzinfo=UTC):%b %Y}"


def _labels(contract: Contract) -> dict[str, pl.Expr]:
    """Return the mean of the label, or the share of each class."""
    label = pl.col(contract.label)
    if contract.classes:
        return {name: (label == name).cast(pl.Float64).mean() for name in contract.classes}
    return {contract.label: label.cast(pl.Float64).mean()}


def _values(column: Column, rows: pl.DataFrame) -> list[str]:
    values = rows[column.name]
    missing = f"{values.null_count() / max(rows.height, 1):.1%}"
    if column.personal:
        return [code(column.name), missing, f"{MASK} personal"]
    known = values.drop_nulls()
    if not len(known):
        return [code(column.name), missing, "none"]
    if column.kind == "numeric":
        low, middle, high = (known.quantile(at, "nearest") for at in (0, 0.5, 1))
        text = f"min {low:g}, median {middle:g}, max {high:g}"
    else:
        common = known.value_counts(sort=True).head(3)
        shares = (f"{name} {count / len(known):.0%}" for name, count in common.iter_rows())
        text = f"{known.n_unique()} categories: {', '.join(shares)} ..."
    return [code(column.name), missing, text]
