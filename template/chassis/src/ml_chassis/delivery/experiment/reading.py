"""Exposures and outcomes from a file or a table of a database."""

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import polars as pl

from ...batch import ScoreError
from ...batch.reading import read
from ...data.database import hide_password
from ...data.formats import Block
from ...data.parse import REASON, cleared, to_types
from ...data.tables import MISSING_WORDS, POSITION, Type
from .analysis import Units

UNIT, ARM, OUTCOME, AT = "unit", "arm", "outcome", "at"
ARMS = ("champion", "challenger")
TYPES: dict[str, Type] = {UNIT: str, ARM: str, OUTCOME: float}
LARGEST = 1e100
"""Of an outcome: squares of larger ones are too large for a float."""
SHOWN = 10
"""Problems that are listed: the rest are alike, mostly."""


def read_units(source: str, private: bool) -> Units:
    """Return the units of a file or table, in the order of their first exposure.

    Args:
        source: Has the columns `unit`, `arm` (champion or challenger) and `outcome` (a number, or
            nothing while it is not known), and may have `at`, the time of the exposure. Without it
            the exposures are in the order of the rows. A unit may have several rows.
        private: Whether the rows hold personal values.

    Raises:
        ScoreError: it cannot be read, a row is not valid, or an arm has none.
        DataError: the database cannot be read.
    """
    name, rows, problems = hide_password(source), list[pl.DataFrame](), list[str]()
    for block in read(source, private):
        if missing := [each for each in TYPES if each not in block.rows.columns]:
            raise ScoreError(f"{name}: there is no column {' and no column '.join(missing)}.")
        typed = _typed(block)
        rows.append(typed)
        problems += _problems(block, typed)
    if problems:
        more = f" and {len(problems) - SHOWN:,} more" if len(problems) > SHOWN else ""
        raise ScoreError(f"{name}: {'; '.join(problems[:SHOWN])}{more}.")
    exposures = pl.concat(rows) if rows else pl.DataFrame()
    if exposures.is_empty():
        raise ScoreError(f"{name}: there is no row.")
    if absent := [each for each in ARMS if each not in exposures[ARM]]:
        raise ScoreError(f"{name}: there is no unit of the {absent[0]}: nothing can be compared.")
    units = by_unit(exposures)
    if not len(units.outcome):
        raise ScoreError(f"{name}: each unit is in both arms: nothing can be compared.")
    return units


def _typed(block: Block) -> pl.DataFrame:
    """Return the columns in their types, with position and reason."""
    types = TYPES | ({AT: datetime} if AT in block.rows.columns else {})
    words = ("", *MISSING_WORDS) if block.words else ("",)
    known = block.rows.select(cleared(each, block.rows.schema[each], words) for each in types)
    required = [each for each in types if each != OUTCOME]
    return to_types(known, types, required, epoch="s").with_columns(
        block.positions.cast(pl.Int64).alias(POSITION)
    )


def _problems(block: Block, typed: pl.DataFrame) -> Iterator[str]:
    for broken in block.broken:
        yield f"row {broken.position}: {broken.reason}"
    arm, outcome = pl.col(ARM), pl.col(OUTCOME)
    other = pl.when(~arm.is_in(ARMS)).then(pl.lit(f"{ARM}: give {' or '.join(ARMS)}"))
    large = pl.when(outcome.abs() > LARGEST).then(pl.lit(f"{OUTCOME}: not a finite number"))
    reasons = [pl.when(pl.col(REASON) != "").then(pl.col(REASON)), other, large]
    found = typed.select(POSITION, pl.concat_str(reasons, separator="; ", ignore_nulls=True))
    for position, reason in found.filter(pl.col(REASON) != "").rows():
        yield f"row {position}: {reason}"


def by_unit(exposures: pl.DataFrame) -> Units:
    """Return the units of exposures with the columns that `read_units` names."""
    timed = AT in exposures.columns
    ordered = exposures.sort(AT, maintain_order=True) if timed else exposures
    units = ordered.group_by(UNIT, maintain_order=True).agg(
        pl.col(ARM).first(),
        pl.col(ARM).n_unique().alias("arms"),
        pl.col(OUTCOME).drop_nulls().first(),
        *([pl.col(AT).first()] if timed else []),
    )
    kept = units.filter(pl.col("arms") == 1)
    return Units(
        challenger=(kept[ARM] == ARMS[1]).to_numpy(),
        outcome=kept[OUTCOME].fill_null(np.nan).to_numpy(),
        at=kept[AT].to_numpy() if timed else None,
        repeated=exposures.height - units.height,
        mixed=units.height - kept.height,
    )
