"""A page about the data: what came in, what was refused and why, what the features hold."""

from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from typing import cast

import polars as pl
import sqlalchemy as sa

from ..contract import CLASSES, LABEL, TASK, Column
from ..contract import FEATURES as COLUMNS
from ..personal import MASK
from ..reports.chart import Axis, Series, draw, reach
from ..reports.page import charts, page, table
from .features import TIME
from .store import ORIGINS, QUARANTINE, Store

MONTH_SECONDS = 365.25 / 12 * 24 * 3600
MAX_LINES = 100
COUNT = sa.select(sa.func.count().label("rows")).select_from(QUARANTINE)
QUERY = "SELECT * FROM quarantine_masked WHERE reason LIKE '%missing%'"


def render(store: Store, maximum: float | None) -> str:
    """Return the page.

    Args:
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
        f"<p>{escape(verdict)}. {datetime.now(UTC):%d %B %Y %H:%M} UTC.</p>",
        "<h2>What came in</h2>",
        table(["raw table", "origin", "rows", "refused", "read, UTC"], _origins(store)),
        "<h2>What was refused</h2>",
        table(["of", "reason", "rows", "the latest"], _reasons(store)),
        f"<p>Each is in the database: <code>{escape(QUERY)}</code></p>",
        charts(_charts(rows)),
        "<h2>What the features hold</h2>",
        table(["feature", "missing", "values"], (_values(column, rows) for column in COLUMNS)),
    ]
    return page(title, good, parts)


def _origins(store: Store) -> Iterator[list[str]]:
    order = (ORIGINS.c.read_at.desc(), ORIGINS.c.source, ORIGINS.c.origin)
    for row in store.query(sa.select(ORIGINS).order_by(*order).limit(MAX_LINES)):
        counts = (f"{row['rows']:,}", f"{row['refused']:,}", f"{row['read_at']:%Y-%m-%d %H:%M}")
        yield [escape(row["source"]), f"<code>{escape(row['origin'])}</code>", *counts]


def _reasons(store: Store) -> Iterator[list[str]]:
    last = sa.func.max(QUARANTINE.c.id).label("last")
    counted = sa.select(sa.func.count().label("rows"), last)
    groups = counted.group_by(QUARANTINE.c.source, QUARANTINE.c.reason).subquery()
    chosen = sa.select(QUARANTINE, groups.c.rows).join(groups, QUARANTINE.c.id == groups.c.last)
    for row in store.query(chosen.order_by(groups.c.rows.desc()).limit(MAX_LINES)):
        place = f", row {row['position']}" if row["position"] else ""
        yield [
            *(escape(row["source"]), escape(row["reason"]), f"{row['rows']:,}"),
            f"<code>{escape(row['origin'])}</code>{place}",
        ]


def _charts(rows: pl.DataFrame) -> Iterator[str]:
    """Yield rows and label by month; on the axis below are months since the first row."""
    if TIME is None or not rows.height:
        return
    first = cast(datetime, rows[TIME].min())
    month = ((pl.col(TIME) - first).dt.total_seconds() / MONTH_SECONDS).floor()
    monthly = (
        rows.group_by(month.alias("month"))
        .agg(pl.len(), *(label.alias(name) for name, label in _labels().items()))
        .sort("month")
        .rows()
    )
    across = Axis(0, monthly[-1][0] + 1)
    counts = [(month, float(count)) for month, count, *_ in monthly]
    title = f"Rows by month since {first:%Y-%m-%d}"
    yield draw(title, [Series("rows", counts, "bars")], [], across, reach([y for _, y in counts]))
    means = [
        Series(name, [(row[0] + 0.5, row[at]) for row in monthly])
        for at, name in enumerate(_labels(), start=2)
    ]
    up = reach([y for series in means for _, y in series.points])
    what = "Mean" if TASK == "regression" else "Share"
    yield draw(f"{what} of {LABEL} by month", means, [], across, up)


def _labels() -> dict[str, pl.Expr]:
    """Return the mean of the label, or the share of each class."""
    if CLASSES:
        return {name: (pl.col(LABEL) == name).cast(pl.Float64).mean() for name in CLASSES}
    return {LABEL: pl.col(LABEL).cast(pl.Float64).mean()}


def _values(column: Column, rows: pl.DataFrame) -> list[str]:
    values = rows[column.name]
    missing = f"{values.null_count() / max(rows.height, 1):.1%}"
    if column.personal:
        return [f"<code>{column.name}</code>", missing, f"{MASK} personal"]
    known = values.drop_nulls()
    if not len(known):
        return [f"<code>{column.name}</code>", missing, "none"]
    if column.kind == "numeric":
        low, middle, high = (known.quantile(at, "nearest") for at in (0, 0.5, 1))
        text = f"{low:g} to {high:g}, half of them up to {middle:g}"
    else:
        common = known.value_counts(sort=True).head(3)
        shares = (f"{name} {count / len(known):.0%}" for name, count in common.iter_rows())
        text = f"{known.n_unique()} different: {', '.join(shares)} ..."
    return [f"<code>{column.name}</code>", missing, escape(text)]
