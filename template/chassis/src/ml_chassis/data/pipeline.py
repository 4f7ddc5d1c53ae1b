"""From raw tables to rows with features: read what is new, merge it, build what it concerns."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import narwhals.stable.v2 as nw
import polars as pl

from .. import settings
from ..project import Project
from . import DataError, engine
from .clean import REASON, clean
from .formats import as_text, to_records
from .parse import Parsed, parse
from .sources import is_csv, read
from .store import Store
from .tables import MISSING_WORDS, PLAIN, POSITION, RawTable


@dataclass
class Update:
    """What one run did.

    Attributes:
        read: Origins that were read, each with how many rows were good and how many refused.
        merged: How many raw rows were new or changed.
        built: How many rows with features were built.
        refused: How many of them break the schema.
        since: From which time on; None for all.
    """

    read: dict[str, tuple[int, int]] = field(default_factory=dict)
    merged: int = 0
    built: int = 0
    refused: int = 0
    since: datetime | None = None


def update(
    project: Project, store: Store, sources: Mapping[str, str] | None = None, replay: bool = False
) -> Update:
    """Bring the rows with features up to date; do nothing where nothing is new.

    Raw rows in quarantine are tried again when the code that read them has changed.

    Args:
        project: What the rows are.
        store: The database.
        sources: Addresses by raw table, instead of those that the project names.
        replay: Try them again in any case: somebody has repaired them in the database.

    Raises:
        DataError: a source cannot be read, or does not give the features.
    """
    addresses = {table.name: table.address for table in project.tables} | dict(sources or {})
    if unknown := sorted(addresses.keys() - {table.name for table in project.tables}):
        raise DataError(
            f"There is no raw table {', '.join(unknown)}; see {project.path('tables')}."
        )
    done = Update()
    replay = store.take_code(code_fingerprint(project)) or replay
    for table in project.tables:
        _read(store, table, addresses[table.name], project.private, done)
        if replay:
            _replay(store, table, done)
    while change := store.change():
        valid, refused = _build(project, store, change.since)
        if store.put_features(change, valid, refused):
            done.built, done.since = valid.height + refused.height, change.since
            done.refused = refused.height
    return done


def say(done: Update) -> None:
    """Print what was done."""
    for origin, (rows, broken) in done.read.items():
        print(f"      {origin}: {rows} rows" + (f", {broken} refused" if broken else ""))
    if not done.read:
        print("      nothing is new in the raw tables")
    if done.built:
        since = f" from {done.since:%Y-%m-%d %H:%M} UTC on" if done.since else ""
        refused = f", {done.refused} of them refused" if done.refused else ""
        print(f"      {done.built} rows with features were built{since}{refused}")


def code_fingerprint(project: Project) -> str:
    """Return what changes whenever rows might be read or built in another way."""
    digest = hashlib.sha256(project.contract.fingerprint.encode())
    for path in (*sorted(Path(__file__).parent.glob("*.py")), *project.source_files()):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(store: Store, table: RawTable, address: str, private: bool, done: Update) -> None:
    for chunk in read(address, store.fingerprints(table.name), table.csv, private):
        if is_csv(chunk.origin):
            _require_words(store.project, table)
        try:
            parsed = _parse(chunk.rows, table, chunk.origin, chunk.sparse)
        except DataError as error:
            raise DataError(f"{chunk.origin}: {error}") from None
        done.merged += store.add(table, chunk, parsed)
        refused = len(parsed.refused) + len(chunk.broken)
        done.read[chunk.origin] = (chunk.rows.height - len(parsed.refused), refused)


def _require_words(project: Project, table: RawTable) -> None:
    """Make sure that no choice of the schema is a word for a missing value.

    Raises:
        DataError: one is, in a raw table with a column of that name.
    """
    if table.missing is not None:
        return
    for column in project.contract.labelled:
        words = [each for each in column.choices or () if each.lower() in MISSING_WORDS]
        if words and column.name in table.columns:
            raise DataError(
                f"{column.name}: the schema has the choice {words[0]!r}, which is read as missing "
                f'in CSV: say in the raw table {table.name} what is, such as missing=("?",) or ().'
            )


def _replay(store: Store, table: RawTable, done: Update) -> None:
    for origin, rows in store.refused(table.name).items():
        block = as_text(to_records((row.position, row.content.encode()) for row in rows))
        frame = block.rows.with_columns(block.positions.alias(POSITION))
        parsed = _parse(frame, table, origin, sparse=True)
        done.merged += store.replay(table, origin, parsed, block.positions)


def _parse(rows: pl.DataFrame, table: RawTable, origin: str, sparse: bool) -> Parsed:
    """Read values as an origin writes them: numbers in JSON have no decimal comma."""
    if is_csv(origin):
        return parse(rows, table, sparse, words=True)
    return parse(rows, replace(table, csv=PLAIN), sparse)


def _build(
    project: Project, store: Store, since: datetime | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows with features from a time on, and those of them that break the schema."""
    keys = project.keys
    columns = (*keys, *(each.name for each in project.contract.labelled if each.name not in keys))
    start = since - project.lookback if since else None
    with engine.start(settings.read().engine, project.private) as load:
        tables = {table.name: load(store.raw(table, start)) for table in project.tables}
        built = project.build(tables)
        if not isinstance(built, nw.LazyFrame):
            raise DataError(
                f"{project.path('features')}: build must return a lazy frame of narwhals, not "
                f"{type(built).__name__}."
            )
        cleaned = clean(built, project.contract.labelled, project.private)
    valid, refused = cleaned.valid.to_native(), cleaned.quarantined.to_native()
    if missing := [name for name in keys if name not in valid.columns]:
        names, path = ", ".join(missing), project.path("features")
        raise DataError(f"{path}: KEYS names {names}, which build does not give.")
    if project.time:
        in_utc = pl.col(project.time).dt.replace_time_zone(None)
        valid, refused = (half.with_columns(in_utc) for half in (valid, refused))
    if project.time and since:
        valid, refused = (half.filter(pl.col(project.time) >= since) for half in (valid, refused))
    return valid.select(columns), refused.select(*columns, REASON)
