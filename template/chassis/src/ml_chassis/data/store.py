"""The database: raw rows by their key, rows with features, the quarantine, the log of runs.

SQLite in a file unless a URL names another, such as PostgreSQL. A person may query all of it:

    SELECT * FROM quarantine_masked
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

import polars as pl
import polars.selectors as cs
import sqlalchemy as sa

from ..personal import MASK
from ..project import Project
from ..settings import Settings
from . import DataError
from .clean import REASON
from .database import INSERTS, open_database, why_failed
from .formats import Broken
from .lock import only_one
from .parse import DTYPES, Parsed
from .sources import Chunk
from .tables import ORIGIN, RawTable, Type

SQL: dict[Type, type[sa.types.TypeEngine[Any]]] = {
    str: sa.Text,
    int: sa.BigInteger,
    float: sa.Double,
    bool: sa.Boolean,
    datetime: sa.DateTime,
}
CHANGE, CODE = "change", "code"
"""In `state`: what the features do not know yet, and what they were built with."""
VIEW = "quarantine_masked"
"""The quarantine without personal values; in `state`: the statement that made it."""
FEATURES = "features"
"""In the quarantine's column `source`: the row could be read, and breaks schema.py."""

METADATA = sa.MetaData()
QUARANTINE = sa.Table(
    "quarantine",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("source", sa.Text, nullable=False, index=True, comment="raw table, or features"),
    sa.Column("origin", sa.Text, nullable=False, comment="file, table or page"),
    sa.Column("position", sa.BigInteger, comment="row within its origin, from 1"),
    sa.Column("time", sa.DateTime, index=True, comment="of the row, in UTC"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False, comment="the row as JSON, or as it came"),
    sa.Column("found_at", sa.DateTime, nullable=False),
)
ORIGINS = sa.Table(
    "origins",
    METADATA,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("refused", sa.BigInteger, nullable=False),
    sa.Column("read_at", sa.DateTime, nullable=False),
)
STATE = sa.Table(
    "state",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.DateTime, nullable=False, comment="when it ended, in UTC"),
    sa.Column("kind", sa.Text, nullable=False, comment="train, retrain, optimise or tune"),
    sa.Column("name", sa.Text, nullable=False, comment="of the variant or the trial"),
    sa.Column("study", sa.Text, nullable=False, index=True, comment="trials that belong together"),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("code_version", sa.Text, nullable=False),
    sa.Column("data_sha256", sa.Text, nullable=False),
    sa.Column("schema_sha256", sa.Text, nullable=False),
    sa.Column("config_sha256", sa.Text, nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("measures", sa.JSON, nullable=False),
    sa.Column("environment", sa.JSON, nullable=False),
)


class Change(NamedTuple):
    """Raw rows that came since the features were built.

    Attributes:
        since: The time of the earliest; None where any row may be concerned.
        token: Another one whenever rows come.
    """

    since: datetime | None
    token: str


class Store:
    """The database of one project; what a method changes it changes whole or not at all."""

    def __init__(self, project: Project, url: str) -> None:
        """Open the database, and make the tables that it does not have.

        Raises:
            DataError: it cannot be opened.
        """
        self.project, self._time = project, project.time
        self._engine = open_database(url, METADATA, project.private)
        self._raw = {table.name: self._declare(table) for table in project.tables}
        personal = {table.name: table.personal for table in project.tables}
        self._show(personal | {FEATURES: project.personal_columns})

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def only_one(self, name: str) -> AbstractContextManager[None]:
        """Keep others out who do the same with this database; see `lock.only_one`."""
        return only_one(self._engine, name)

    # ---- raw rows

    def fingerprints(self, source: str) -> dict[str, str]:
        """Return the fingerprint of each origin of a raw table that was read."""
        chosen = sa.select(ORIGINS.c.origin, ORIGINS.c.fingerprint).where(
            ORIGINS.c.source == source
        )
        with self._begin() as connection:
            return {row.origin: row.fingerprint for row in connection.execute(chosen)}

    def add(self, table: RawTable, chunk: Chunk, parsed: Parsed) -> int:
        """Merge the rows of a chunk; return how many are new or changed.

        Without a key, they replace all that came from the same origin before. What was refused of
        it before is forgotten: it has just been read again.
        """
        refused = [*chunk.broken, *parsed.refused]
        with self._begin() as connection:
            if table.key:
                new = self._merge(connection, table, parsed.rows)
            else:
                new = self._exchange(connection, table, chunk.origin, parsed.rows)
            origin = {"source": table.name, "origin": chunk.origin}
            found = [{**each._asdict(), "found_at": _now()} for each in refused]
            _replace(connection, QUARANTINE, origin, found)
            counts = {"rows": parsed.rows.height, "refused": len(refused), "read_at": _now()}
            _replace(connection, ORIGINS, origin, [{"fingerprint": chunk.fingerprint, **counts}])
        return new

    def refused(self, source: str) -> dict[str, list[Broken]]:
        """Return what of a raw table is in quarantine, by origin."""
        columns = (QUARANTINE.c[name] for name in ("origin", *Broken._fields))
        chosen = sa.select(*columns).where(QUARANTINE.c.source == source).order_by(QUARANTINE.c.id)
        found = defaultdict[str, list[Broken]](list)
        with self._begin() as connection:
            for origin, *rest in connection.execute(chosen):
                found[origin].append(Broken(*rest))
        return found

    def replay(self, table: RawTable, origin: str, parsed: Parsed, tried: Iterable[int]) -> int:
        """Take out of quarantine what can be read now; return how many rows are new or changed.

        Args:
            table: The raw table.
            origin: Where the rows came from.
            parsed: What was made of them now.
            tried: Their positions.
        """
        accepted = set(tried) - {each.position for each in parsed.refused}
        if not accepted:
            return 0
        one = sa.delete(QUARANTINE).where(
            QUARANTINE.c.source == table.name,
            QUARANTINE.c.origin == origin,
            QUARANTINE.c.position == sa.bindparam("at"),
        )
        with self._begin() as connection:
            connection.execute(one, [{"at": position} for position in accepted])
            rows = parsed.rows if table.key else _from(origin, parsed.rows)
            return self._merge(connection, table, rows)

    def raw(self, table: RawTable, since: datetime | None = None) -> pl.DataFrame:
        """Return the rows of a raw table, from a time on if it knows times; times are in UTC.

        Without a key, they come with `row_origin` and `row_position`.
        """
        stored = self._raw[table.name]
        chosen = sa.select(stored).order_by(*(stored.c[name] for name in table.identity))
        if since and table.time:
            chosen = chosen.where(stored.c[table.time] >= since)
        with self._begin() as connection:
            return _in_utc(_read(connection, chosen, table.stored))

    def _merge(self, connection: sa.Connection, table: RawTable, rows: pl.DataFrame) -> int:
        stored = self._raw[table.name]
        known = sa.select(stored)
        if table.time and rows.height:
            times = rows[table.time]
            known = known.where(stored.c[table.time].between(times.min(), times.max()))
        new = _without(rows, _read(connection, known, table.stored))
        if new.height:
            insert = INSERTS[connection.dialect.name](stored)
            others = {
                name: insert.excluded[name] for name in table.stored if name not in table.identity
            }
            # Where all columns are the key, what is known already is not new.
            upsert = insert.on_conflict_do_update(index_elements=table.identity, set_=others)
            connection.execute(upsert if others else insert, new.to_dicts())
            self._mark(connection, _earliest(new, table))
        return new.height

    def _exchange(
        self, connection: sa.Connection, table: RawTable, origin: str, rows: pl.DataFrame
    ) -> int:
        """Put rows in the place of all that came from an origin; return how many are new."""
        stored, rows = self._raw[table.name], _from(origin, rows)
        here = stored.c[ORIGIN] == origin
        before = _read(connection, sa.select(stored).where(here), table.stored)
        new, gone = _without(rows, before), _without(before, rows)
        connection.execute(sa.delete(stored).where(here))
        if rows.height:
            connection.execute(sa.insert(stored), rows.to_dicts())
        if new.height or gone.height:
            changed = pl.concat([new, gone.select(new.columns)])
            self._mark(connection, _earliest(changed, table))
        return new.height

    def _declare(self, table: RawTable) -> sa.Table:
        """Make the table of a raw table; of one declared otherwise before, keep what still fits.

        Its origins are then read again, for what the declaration did not ask for before.
        """
        declared = {name: kind.__name__ for name, kind in table.stored.items()}
        key = json.dumps(table.identity)
        new = _raw_table(table, table.stored)
        with self._begin() as connection:
            text = _state(connection, f"columns of {table.name}")
            before: dict[str, str] = json.loads(text) if text else {}
            if before != declared or _state(connection, f"key of {table.name}") != key:
                same = {
                    name: kind
                    for name, kind in table.stored.items()
                    if before.get(name) == declared[name]
                }
                kept = _fitting(connection, table, same)
                sa.Table(new.name, sa.MetaData()).drop(connection, checkfirst=True)
                new.create(connection)
                if kept.height:
                    connection.execute(sa.insert(new), kept.to_dicts())
                connection.execute(sa.delete(ORIGINS).where(ORIGINS.c.source == table.name))
                _set_state(connection, f"columns of {table.name}", json.dumps(declared))
                _set_state(connection, f"key of {table.name}", key)
                self._mark(connection, None)
        return new

    def _show(self, personal: Mapping[str, frozenset[str]]) -> None:
        """Make the view of the quarantine in which personal values are masked.

        Args:
            personal: The columns that hold them, by source.
        """
        with self._begin() as connection:
            shown = _masked_quarantine(connection, personal)
            if _state(connection, VIEW) != shown:
                connection.exec_driver_sql(f"DROP VIEW IF EXISTS {VIEW}")
                connection.exec_driver_sql(shown)
                _set_state(connection, VIEW, shown)

    # ---- features

    def change(self) -> Change | None:
        """Return what the features do not know yet, or None."""
        with self._begin() as connection:
            return _change(connection)

    def take_code(self, fingerprint: str) -> bool:
        """Return whether the code that reads and builds rows is another than the last time.

        All features are then to be built again.
        """
        with self._begin() as connection:
            if _state(connection, CODE) == fingerprint:
                return False
            _set_state(connection, CODE, fingerprint)
            self._mark(connection, None)
        return True

    def put_features(self, change: Change, valid: pl.DataFrame, refused: pl.DataFrame) -> bool:
        """Replace the rows with features, from the time of a change on.

        Args:
            change: What they were built for.
            valid: The columns of the table `features`.
            refused: The same with the column of the reason.

        Returns:
            Whether that was done; not if other raw rows came meanwhile: then build again.
        """
        rows = _features_table(valid, self._time)
        with self._begin() as connection:
            # An update waits for others who write, and sees what they have written.
            seen = sa.update(STATE).where(STATE.c.name == CHANGE, STATE.c.value == _as_text(change))
            if connection.execute(seen.values(value=STATE.c.value)).rowcount != 1:
                return False
            in_quarantine = sa.delete(QUARANTINE).where(QUARANTINE.c.source == FEATURES)
            if change.since is None or self._time is None:
                rows.drop(connection, checkfirst=True)
                rows.create(connection)
                connection.execute(in_quarantine)
            else:
                connection.execute(sa.delete(rows).where(rows.c[self._time] >= change.since))
                connection.execute(in_quarantine.where(QUARANTINE.c.time >= change.since))
            if valid.height:
                connection.execute(sa.insert(rows), valid.to_dicts())
            if refused.height:
                connection.execute(
                    sa.insert(QUARANTINE),
                    [_refused(self.project, row) for row in refused.to_dicts()],
                )
            connection.execute(sa.delete(STATE).where(STATE.c.name == CHANGE))
        return True

    def features(self) -> pl.DataFrame:
        """Return all rows with keys, features and label, in the order of time, or of their keys.

        Raises:
            DataError: nothing was built yet.
        """
        with self._begin() as connection:
            if not sa.inspect(connection).has_table(FEATURES):
                raise DataError("There are no rows yet: make data.")
            stored = sa.Table(FEATURES, sa.MetaData(), autoload_with=connection)
            kinds: dict[str, Type] = {each.name: each.type.python_type for each in stored.columns}
            found = _read(connection, sa.select(stored), kinds)
        # By all columns: equal rows have equal places, however they came.
        first = (self._time,) if self._time else self.project.keys
        return _in_utc(found.sort(*first, *kinds, nulls_last=True))

    def refused_shares(self) -> dict[str, float]:
        """Return which share of the rows of each raw table, and of the features, was refused."""
        origins = sa.select(ORIGINS.c.source, sa.func.sum(ORIGINS.c.rows).label("rows"))
        refused = sa.select(QUARANTINE.c.source, sa.func.count().label("rows"))
        with self._begin() as connection:
            good = {
                row.source: int(row.rows) for row in connection.execute(origins.group_by("source"))
            }
            built = sa.select(sa.func.count()).select_from(sa.table(FEATURES))
            good[FEATURES] = connection.execute(built).scalar_one()
            bad = {row.source: row.rows for row in connection.execute(refused.group_by("source"))}
        return {
            source: bad.get(source, 0) / max(rows + bad.get(source, 0), 1)
            for source, rows in good.items()
        }

    # ---- runs

    def log_run(self, values: dict[str, Any]) -> None:
        """Add a line to the log of runs; see `training.runs`."""
        with self._begin() as connection:
            connection.execute(sa.insert(RUNS), [values])

    def query(self, statement: sa.Select[Any]) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        with self._begin() as connection:
            return [dict(row._mapping) for row in connection.execute(statement)]

    def _mark(self, connection: sa.Connection, since: datetime | None) -> None:
        if self._time is None:  # rows with features are about no time: all are built again
            since = None
        if before := _change(connection):
            since = min(since, before.since) if since and before.since else None
        _set_state(connection, CHANGE, _as_text(Change(since, uuid.uuid4().hex)))

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            reason = why_failed(error, self._engine.url, self.project.private)
            raise DataError(f"The database failed: {reason}") from error


def _earliest(rows: pl.DataFrame, table: RawTable) -> datetime | None:
    return cast(datetime, rows[table.time].min()) if table.time else None


def _fitting(connection: sa.Connection, table: RawTable, same: Mapping[str, Type]) -> pl.DataFrame:
    """Return what of a table can be kept, of which some columns are as they were declared."""
    if not same.keys() >= set(table.identity):
        return pl.DataFrame()
    rows = _read(connection, sa.select(_raw_table(table, same)), same)
    return rows.drop_nulls(table.identity).unique(table.identity, keep="last", maintain_order=True)


def _from(origin: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows of a table without a key with where they are from."""
    return rows.with_columns(pl.lit(origin).alias(ORIGIN))


def _without(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    return rows.join(others, on=others.columns, how="anti", nulls_equal=True)


def _raw_table(table: RawTable, columns: Mapping[str, Type]) -> sa.Table:
    return sa.Table(
        f"raw_{table.name}",
        sa.MetaData(),
        *(
            sa.Column(name, SQL[kind], primary_key=name in table.identity, autoincrement=False)
            for name, kind in columns.items()
        ),
    )


def _masked_quarantine(connection: sa.Connection, personal: Mapping[str, frozenset[str]]) -> str:
    """Return the statement that makes the view.

    In what is no JSON object, nobody can tell which part is personal, so nothing of it is shown.
    """
    cases = "".join(
        f" WHEN '{source}' THEN {_masked(connection.dialect, columns)}"
        for source, columns in personal.items()
        if columns
    )
    content = f"CASE source{cases} ELSE content END" if cases else "content"
    others = "id, source, origin, position, time, reason"
    return f"CREATE VIEW {VIEW} AS SELECT {others}, {content} AS content, found_at FROM quarantine"  # noqa: S608 - names of columns from the code


def _masked(dialect: sa.Dialect, columns: frozenset[str]) -> str:
    """Return the content of a row with some of its values masked."""
    masks = json.dumps(dict.fromkeys(sorted(columns), MASK)).replace("'", "''")
    if dialect.name == "sqlite":
        patched = f"json_patch(content, '{masks}')"
        in_object = f"CASE json_type(content) WHEN 'object' THEN {patched} ELSE '{MASK}' END"
        return f"CASE WHEN json_valid(content) THEN {in_object} ELSE '{MASK}' END"
    if (dialect.server_version_info or ()) < (16,):  # it cannot tell what is JSON
        return f"'{MASK}'"
    patched = f"(content::jsonb || '{masks}'::jsonb)::text"
    return f"CASE WHEN content IS JSON OBJECT THEN {patched} ELSE '{MASK}' END"


@contextmanager
def open_store(project: Project, settings: Settings) -> Iterator[Store]:
    """Yield the database that the settings name.

    Raises:
        DataError: it cannot be opened.
    """
    store = Store(project, settings.database_url.get_secret_value())
    try:
        yield store
    finally:
        store.close()


def _features_table(frame: pl.DataFrame, time: str | None) -> sa.Table:
    kinds = {name: _kind(dtype) for name, dtype in frame.schema.items()}
    columns = (sa.Column(name, SQL[kind], index=name == time) for name, kind in kinds.items())
    return sa.Table(FEATURES, sa.MetaData(), *columns)


def _kind(dtype: pl.DataType) -> Type:
    if dtype.is_integer():
        return int
    if dtype.is_float():
        return float
    return {pl.Boolean(): bool, pl.Datetime("us"): datetime}.get(dtype, str)


def _refused(project: Project, row: dict[str, Any]) -> dict[str, Any]:
    reason = row.pop(REASON)
    return {
        "source": FEATURES,
        "origin": ", ".join(
            f"{key} {MASK if key in project.personal_columns else row[key]}" for key in project.keys
        ),
        "time": row[project.time] if project.time else None,
        "reason": reason,
        "content": json.dumps(row, default=str, ensure_ascii=False),
        "found_at": _now(),
    }


def _read(
    connection: sa.Connection, chosen: sa.Select[Any], kinds: Mapping[str, Type]
) -> pl.DataFrame:
    rows = connection.execute(
        chosen.with_only_columns(*(chosen.selected_columns[name] for name in kinds))
    )
    schema = {name: DTYPES[kind] for name, kind in kinds.items()}
    return pl.DataFrame([tuple(row) for row in rows], schema, orient="row")


def _in_utc(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(cs.datetime().dt.replace_time_zone("UTC"))


def _replace(
    connection: sa.Connection, table: sa.Table, which: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    """Put rows in the place of those that have the same values in some columns."""
    same = (table.c[name] == value for name, value in which.items())
    connection.execute(sa.delete(table).where(*same))
    if rows:
        connection.execute(sa.insert(table), [{**which, **row} for row in rows])


def _state(connection: sa.Connection, name: str) -> str | None:
    return connection.scalar(sa.select(STATE.c.value).where(STATE.c.name == name))


def _set_state(connection: sa.Connection, name: str, value: str) -> None:
    _replace(connection, STATE, {"name": name}, [{"value": value}])


def _change(connection: sa.Connection) -> Change | None:
    text = _state(connection, CHANGE)
    if text is None:
        return None
    since, _, token = text.partition(" ")
    return Change(datetime.fromisoformat(since) if since else None, token)


def _as_text(change: Change) -> str:
    return f"{change.since.isoformat() if change.since else ''} {change.token}"


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)
