"""Which retrainings alerts began, and what came of them: a table beside the data.

A person may query it:

    SELECT begun_at, asked_by, outcome, reason FROM retrainings ORDER BY id DESC
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, get_args

import sqlalchemy as sa

from ..data import DataError
from ..data.database import open_database, why_failed
from ..data.lock import only_one
from ..errors import UserError
from ..training.config import RetrainingConfig

Outcome = Literal[
    "promoted", "nothing_new", "refused", "failed", "killed", "asked", "not_asked", "declined"
]
"""Of one that ended. `asked` is for others to run, `not_asked` is what they refused, `declined`
what the record did."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
RUNNING = "running"
SPENT = (RUNNING, "promoted", "refused", "failed", "killed", "asked")
"""What the budget counts, and after which some hours pass until the next: to find nothing new costs
little, and something may come soon."""
MONTH = timedelta(days=30)
WAIT_SECONDS = 5
"""For a database that is busy or hangs: others ask too."""

TABLES = sa.MetaData()
RETRAININGS = sa.Table(
    "retrainings",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("begun_at", sa.DateTime, nullable=False, comment="in UTC"),
    sa.Column("ended_at", sa.DateTime, comment="in UTC"),
    sa.Column("asked_by", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
COLUMNS = RETRAININGS.c


class DeclinedError(UserError):
    """No retraining may begin now; the message says why."""


class Retraining(NamedTuple):
    """One row; times are in UTC."""

    id: int
    begun_at: datetime
    ended_at: datetime | None
    asked_by: str
    outcome: str
    reason: str


class Record:
    """The table; each method opens the database, and leaves nothing open.

    One process writes, so that what was read in a transaction holds in the next one.
    """

    def __init__(self, url: str) -> None:
        """Take the address of the database."""
        self._url = url

    @contextmanager
    def only_one(self) -> Iterator[None]:
        """Keep other retrainers out, and close what one that was killed has left open.

        Raises:
            BusyError: there is another one.
            DataError: the database cannot be used.
        """
        engine = self._open()
        try:
            with only_one(engine, "retrainer"):
                self.close_left_open()
                yield
        finally:
            engine.dispose()

    def begin(self, asked_by: str, limits: RetrainingConfig) -> int:
        """Note that a retraining begins; return its number.

        Raises:
            DeclinedError: one runs, or the last one was too recently, or there were too many.
            DataError: the database cannot be used.
        """
        now = _now()
        with self._transaction() as connection:
            if why_not := _why_not(connection, limits, now):
                _decline(connection, asked_by, why_not, now)
            else:
                return _add(connection, now, None, asked_by, RUNNING, "")
        raise DeclinedError(why_not)

    def end(self, number: int, outcome: Outcome, reason: str) -> None:
        """Note what came of one.

        Raises:
            DataError: the database cannot be used.
        """
        with self._transaction() as connection:
            values = {"ended_at": _now(), "outcome": outcome, "reason": reason}
            connection.execute(sa.update(RETRAININGS).where(COLUMNS.id == number).values(values))

    def why_not(self, limits: RetrainingConfig) -> str:
        """Return why none may begin now, or "".

        Raises:
            DataError: the database cannot be used.
        """
        with self._transaction() as connection:
            return _why_not(connection, limits, _now())

    def last(self, count: int) -> list[Retraining]:
        """Return so many, the newest first.

        Raises:
            DataError: the database cannot be used.
        """
        with self._transaction() as connection:
            chosen = sa.select(RETRAININGS).order_by(COLUMNS.id.desc()).limit(count)
            return [Retraining(*row) for row in connection.execute(chosen)]

    def ends(self) -> dict[str, float]:
        """Return when a retraining last ended so, in Unix time; 0 is never.

        Raises:
            DataError: the database cannot be used.
        """
        chosen = sa.select(COLUMNS.outcome, sa.func.max(COLUMNS.ended_at))
        with self._transaction() as connection:
            rows = connection.execute(chosen.group_by(COLUMNS.outcome)).all()
        known = {outcome: when.replace(tzinfo=UTC).timestamp() for outcome, when in rows if when}
        return {outcome: known.get(outcome, 0.0) for outcome in OUTCOMES}

    def close_left_open(self) -> None:
        """Note that nobody runs what is not ended; only who would run it knows.

        Raises:
            DataError: the database cannot be used.
        """
        with self._transaction() as connection:
            values = {"ended_at": _now(), "outcome": "killed", "reason": "the retrainer was killed"}
            running = COLUMNS.outcome == RUNNING
            connection.execute(sa.update(RETRAININGS).where(running).values(values))

    def _open(self) -> sa.Engine:
        # Most transactions read, beside a training that may write for long.
        return open_database(self._url, TABLES, False, WAIT_SECONDS, writes=False)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        engine = self._open()
        try:
            with engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            reason = why_failed(error, self._url, private=False)
            raise DataError(f"The database failed: {reason}") from error
        finally:
            engine.dispose()


def _why_not(connection: sa.Connection, limits: RetrainingConfig, now: datetime) -> str:
    chosen = sa.select(COLUMNS.begun_at, COLUMNS.ended_at).order_by(COLUMNS.id.desc())
    # A clock that was wrong may have left a time to come, until which none would begin.
    known = COLUMNS.outcome.in_(SPENT) & (COLUMNS.ended_at.is_(None) | (COLUMNS.ended_at <= now))
    last = connection.execute(chosen.where(known).limit(1)).first()
    if last and not last.ended_at:
        return f"one runs since {_time(last.begun_at)}"
    if last and now < (free := last.ended_at + timedelta(hours=limits.hours_between)):
        return (
            f"the last one ended at {_time(last.ended_at)}; hours_between in training.toml is "
            f"{limits.hours_between:g}, so the next begins from {_time(free)} on"
        )
    recent = COLUMNS.outcome.in_(SPENT) & COLUMNS.begun_at.between(now - MONTH, now)
    spent = connection.scalars(chosen.where(recent)).all()
    if len(spent) >= limits.maximum_per_month:
        free = spent[limits.maximum_per_month - 1] + MONTH
        return (
            f"{len(spent)} began in the last {MONTH.days} days; maximum_per_month in training.toml "
            f"is {limits.maximum_per_month}, so the next begins from {_time(free)} on"
        )
    return ""


def _decline(connection: sa.Connection, asked_by: str, reason: str, now: datetime) -> None:
    """Note it; not again and again, as an alert asks for days."""
    last = sa.select(COLUMNS.id, COLUMNS.outcome).order_by(COLUMNS.id.desc()).limit(1)
    before = connection.execute(last).first()
    if before and before.outcome == "declined":
        connection.execute(sa.delete(RETRAININGS).where(COLUMNS.id == before.id))
    _add(connection, now, now, asked_by, "declined", reason)


def _add(connection: sa.Connection, *values: Any) -> int:
    names = ("begun_at", "ended_at", "asked_by", "outcome", "reason")
    insert = sa.insert(RETRAININGS).values(dict(zip(names, values, strict=True)))
    number: int = connection.scalars(insert.returning(COLUMNS.id)).one()
    return number


def _time(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
