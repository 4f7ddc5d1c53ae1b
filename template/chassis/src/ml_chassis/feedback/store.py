"""The database of predictions and their labels.

A person may query it:

    SELECT model_version, count(*), count(label) FROM feedback_predictions GROUP BY model_version
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ..contract import Contract, Prediction
from ..data import DataError
from ..data.database import INSERTS, hide_password, open_database, why_failed
from ..monitoring.metrics import count_labels
from ..monitoring.quality import Joined, Kept, Label
from .sample import Exposure

LOGGER = logging.getLogger("model_service")
SECONDS = 5
"""For which a database is waited for."""
MOST_JOINED = 1_000
MOST_WAITING = 100_000
"""Labels whose predictions are not known; beyond, the oldest are deleted."""
AT_ONCE = 500
"""Ids in a statement: a database takes so many parameters and no more."""

TABLES = sa.MetaData()
LABELS = sa.Table(
    "feedback_labels",
    TABLES,
    sa.Column("id", sa.Text, primary_key=True, comment="of a prediction that is not known yet"),
    sa.Column("label", sa.Text, nullable=False, comment="as JSON"),
    sa.Column("received_at", sa.DateTime, nullable=False, index=True, comment="in UTC"),
    sa.Column("is_refused", sa.Boolean, comment="true: it is no label of this service"),
)
PREDICTIONS = sa.Table(
    "feedback_predictions",
    TABLES,
    sa.Column("id", sa.Text, primary_key=True, comment="prediction_id of the answer"),
    sa.Column("predicted_at", sa.DateTime, nullable=False, index=True, comment="in UTC"),
    sa.Column("model_version", sa.Text, nullable=False),
    sa.Column("track", sa.Text, nullable=False, comment="of the replica that predicted"),
    sa.Column("prediction", sa.JSON, nullable=False, comment="a number, or one for each class"),
    sa.Column("constant", sa.JSON, nullable=False, comment="the mean of training"),
    sa.Column("bin", sa.Text, nullable=False, comment="of the predictions of training"),
    sa.Column("acts", sa.Boolean, comment="whether it reached the threshold of the decision"),
    sa.Column("slices", sa.JSON, nullable=False, comment="values of the categories of slices"),
    sa.Column("label", sa.Text, comment="as JSON"),
    sa.Column("labelled_at", sa.DateTime, comment="when its first label came, in UTC"),
)
SHADOW = sa.Table(
    "feedback_shadow",
    TABLES,
    # Ids are random: the first ones of a version are a random sample of all.
    sa.Column("model_version", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True, comment="prediction_id that stable answered"),
    sa.Column("predicted_at", sa.DateTime, nullable=False, index=True, comment="in UTC"),
    sa.Column("prediction", sa.JSON, nullable=False, comment="a number, or one for each class"),
    sa.Column("acts", sa.Boolean, comment="whether it reached the threshold of the decision"),
)


EXPERIMENTS = sa.Table(
    "feedback_experiments",
    TABLES,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("declared_at", sa.DateTime, nullable=False, comment="in UTC"),
    sa.Column("plan", sa.JSON, nullable=False, comment="experiment in slo.yaml"),
    sa.Column("decision", sa.JSON(none_as_null=True), comment="[decision] in training.toml"),
    sa.Column("champion", sa.Text, nullable=False, comment="version"),
    sa.Column("challenger", sa.Text, nullable=False, comment="version"),
)
EXPOSURES = sa.Table(
    "feedback_exposures",
    TABLES,
    sa.Column("id", sa.Text, primary_key=True, comment="prediction_id of the answer"),
    sa.Column("experiment", sa.Text, nullable=False, index=True),
    sa.Column("unit", sa.Text, nullable=False, comment="a hash of what names it"),
    sa.Column("arm", sa.Text, nullable=False, comment="to which it is assigned"),
    sa.Column("exposed_at", sa.DateTime, nullable=False, index=True, comment="in UTC"),
)


ACCEPTED = LABELS.c.is_refused.is_not(sa.true())


class Declared(NamedTuple):
    """An A/B test as it began.

    Attributes:
        name: Its name.
        declared_at: When, in UTC, without saying so.
        plan: What slo.yaml said.
        decision: What somebody does because of a prediction; None is nothing.
        champion: The version.
        challenger: Likewise.
    """

    name: str
    declared_at: datetime
    plan: Mapping[str, Any]
    decision: Mapping[str, Any] | None
    champion: str
    challenger: str


class Unit(NamedTuple):
    """A unit of an A/B test, and its outcome: that of the answer whose label came first.

    Attributes:
        arms: To which it was assigned: one, where nothing went wrong.
        at: When it was answered first, in UTC, without saying so.
        answers: How many it got.
        prediction: A number, or the probability of each class; None where no label has come.
        acts: Whether it reaches the threshold of the decision; None where there is none.
        label: What turned out to be true; None where that is not known.
    """

    arms: tuple[str, ...]
    at: datetime
    answers: int
    prediction: Prediction | None
    acts: bool | None
    label: Label | None


class Pair(NamedTuple):
    """The predictions of stable and of a shadow for the same row.

    Attributes:
        id: Of the prediction that was answered.
        stable: A number, or the probability of each class.
        shadow: Likewise.
        acts: Whether each reaches the threshold of its decision; None where there is none.
        slices: Value of each category by which quality is measured.
        label: What turned out to be true; None where that is not known.
    """

    id: str
    stable: Prediction
    shadow: Prediction
    acts: tuple[bool | None, bool | None]
    slices: Mapping[str, str]
    label: Label | None


class Told(NamedTuple):
    """What became of labels.

    Attributes:
        joined: Whose prediction is known, and had no label.
        known: Those that were known already, and say the same.
        changed: Those that were known, and say something else now.
        waiting: Those whose prediction is not known, or not yet.
    """

    joined: list[Joined]
    known: int
    changed: int
    waiting: int


class Store:
    """The database; each method is one transaction, and may be called again."""

    def __init__(self, contract: Contract, url: str, *, is_read: bool = False) -> None:
        """Open it, and make the tables that it does not have.

        Args:
            contract: The schema.
            url: Its address.
            is_read: Whether it is for a report, which takes its time, and holds up no writer.

        Raises:
            DataError: it cannot be opened.
        """
        self._url, self._private = url, bool(contract.personal)
        seconds = None if is_read else SECONDS
        self._engine = open_database(url, TABLES, self._private, seconds)
        self._file = _file(self._engine.url)
        field = contract.labelled_schema.model_fields[contract.label]
        exact = ConfigDict(strict=True, allow_inf_nan=False)
        self._label = TypeAdapter[Label](field.rebuild_annotation(), config=exact)

    def is_gone(self) -> bool:
        """Return whether its file was removed, or another is there: what is written is lost."""
        return self._file != _file(self._engine.url)

    def now(self) -> datetime:
        """Return the time of the database, in UTC, as `join` compares it."""
        with self._engine.connect() as connection:
            return _clock(connection)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def keep(
        self,
        predictions: Iterable[Kept],
        joins: bool = True,
        exposures: Mapping[str, Exposure] = MappingProxyType({}),
    ) -> list[Joined]:
        """Keep predictions; return those whose label was waiting for them.

        Args:
            predictions: What is kept.
            joins: Whether they are given their labels now; else another process does so.
            exposures: Of units of A/B tests, by the ids of predictions.
        """
        now = utc_now()
        rows = sorted(
            ({**each._asdict(), "predicted_at": now} for each in predictions),
            key=lambda row: str(row["id"]),  # in one order, or two would wait for each other
        )
        if not rows and not exposures:
            return []
        with self._engine.begin() as connection:
            insert = INSERTS[connection.dialect.name](PREDICTIONS)
            if rows:
                connection.execute(insert.on_conflict_do_nothing(), rows)
            _expose(connection, exposures)
            held = self._valid(connection, _hold(connection, now))
            if joins:
                return _join(connection, held)
            _renew(connection, held)
        return []

    def keep_shadow(self, predictions: Iterable[Kept]) -> None:
        """Keep predictions of a shadow, which nobody was answered."""
        names = [column.name for column in SHADOW.columns if column.name in Kept._fields]
        rows = [
            {**{name: getattr(each, name) for name in names}, "predicted_at": utc_now()}
            for each in sorted(predictions, key=lambda each: each.id)
        ]
        if rows:
            with self._engine.begin() as connection:
                insert = INSERTS[connection.dialect.name](SHADOW)
                connection.execute(insert.on_conflict_do_nothing(), rows)

    def declare(self, declared: Declared) -> None:
        """Note an A/B test, unless one of this name is known."""
        with self._engine.begin() as connection:
            insert = INSERTS[connection.dialect.name](EXPERIMENTS).on_conflict_do_nothing()
            connection.execute(insert, declared._asdict())

    def declared(self, name: str = "") -> Declared | None:
        """Return an A/B test, or the one that was declared last; None where there is none.

        Raises:
            DataError: the database fails.
        """
        wanted = sa.select(*(EXPERIMENTS.c[each] for each in Declared._fields))
        wanted = wanted.where(EXPERIMENTS.c.name == name) if name else wanted
        with self._reading() as connection:
            found = connection.execute(wanted.order_by(EXPERIMENTS.c.declared_at.desc())).first()
        return Declared(*found) if found else None

    def units(self, experiment: str, until: datetime) -> list[Unit]:
        """Return the units of an A/B test, in the order of their first answers.

        Args:
            experiment: Name of the test.
            until: In UTC; what was answered later does not count.

        Raises:
            DataError: the database fails.
        """
        own = sa.and_(EXPOSURES.c.experiment == experiment, EXPOSURES.c.exposed_at <= until)
        answered = PREDICTIONS.c.id == EXPOSURES.c.id
        order = (PREDICTIONS.c.labelled_at, EXPOSURES.c.exposed_at, EXPOSURES.c.id)
        nth = sa.func.row_number().over(partition_by=EXPOSURES.c.unit, order_by=order)
        labelled = (
            sa.select(
                EXPOSURES.c.unit,
                PREDICTIONS.c.prediction,
                PREDICTIONS.c.acts,
                PREDICTIONS.c.label,
                nth.label("nth"),
            )
            .join(PREDICTIONS, answered)
            .where(own, PREDICTIONS.c.label.is_not(None))
            .subquery()
        )
        arm, at = EXPOSURES.c.arm, sa.func.min(EXPOSURES.c.exposed_at)
        exposed = (
            sa.select(
                EXPOSURES.c.unit,
                sa.func.min(arm).label("first"),
                sa.func.max(arm).label("last"),
                at.label("at"),
                sa.func.count().label("answers"),
            )
            .where(own)
            .group_by(EXPOSURES.c.unit)
            .subquery()
        )
        of_unit = sa.and_(labelled.c.unit == exposed.c.unit, labelled.c.nth == 1)
        wanted = (
            sa.select(exposed, labelled.c.prediction, labelled.c.acts, labelled.c.label)
            .outerjoin(labelled, of_unit)
            .order_by(exposed.c.at, exposed.c.unit)
        )
        with self._reading() as connection:
            return [
                Unit(
                    tuple(sorted({row.first, row.last})),
                    row.at,
                    row.answers,
                    row.prediction,
                    row.acts,
                    None if row.label is None else json.loads(row.label),
                )
                for row in connection.execute(wanted)
            ]

    def answered_by(self, experiment: str) -> dict[tuple[str, str], int]:
        """Return how many answers of each arm of an A/B test each version has given.

        Raises:
            DataError: the database fails.
        """
        by = (EXPOSURES.c.arm, PREDICTIONS.c.model_version)
        wanted = (
            sa.select(*by, sa.func.count())
            .join(PREDICTIONS, PREDICTIONS.c.id == EXPOSURES.c.id)
            .where(EXPOSURES.c.experiment == experiment)
            .group_by(*by)
        )
        with self._reading() as connection:
            return {(arm, version): count for arm, version, count in connection.execute(wanted)}

    def pairs(self, stable: str, shadow: str, since: datetime, most: int) -> list[Pair]:
        """Return what two versions predicted for the same rows: a random sample of so many.

        Args:
            stable: The version that was answered.
            shadow: The version that nobody was answered.
            since: In UTC; only what the shadow predicted later.
            most: How many at most.

        Raises:
            DataError: the database fails.
        """
        both = _both(stable, shadow, since)
        wanted = both.with_only_columns(
            SHADOW.c.id,
            PREDICTIONS.c.prediction,
            SHADOW.c.prediction.label("of_shadow"),
            PREDICTIONS.c.acts,
            SHADOW.c.acts.label("shadow_acts"),
            PREDICTIONS.c.slices,
            PREDICTIONS.c.label,
        )
        with self._reading() as connection:
            found = connection.execute(wanted.order_by(SHADOW.c.id).limit(most)).all()
        return [
            Pair(
                row.id,
                row.prediction,
                row.of_shadow,
                (row.acts, row.shadow_acts),
                row.slices,
                None if row.label is None else json.loads(row.label),
            )
            for row in found
        ]

    def count_pairs(self, stable: str, shadow: str, since: datetime) -> int:
        """Return how many `pairs` there are.

        Raises:
            DataError: the database fails.
        """
        wanted = _both(stable, shadow, since).with_only_columns(sa.func.count())
        with self._reading() as connection:
            return connection.scalars(wanted).one()

    def add(self, labels: Mapping[str, Label]) -> Told:
        """Add labels by the ids of predictions, in any order and as often as they come."""
        with self._engine.begin() as connection:
            _wait(connection, labels)
            joined = _join(connection, sorted(labels))
            known, changed = _relabel(connection, sorted(labels))
        return Told(joined, known, changed, len(labels) - len(joined) - known - changed)

    def wait(self, labels: Mapping[str, Label]) -> None:
        """Add labels for a service to join and count, by any process.

        Raises:
            DataError: the file was removed since it was opened.
        """
        if self.is_gone():
            raise DataError("The file of the database for labels is gone: start again.")
        with self._engine.begin() as connection:
            _wait(connection, labels)

    def count_known(self, names: Iterable[str]) -> int:
        """Return of how many of some ids the prediction is kept."""
        with self._engine.connect() as connection:
            return sum(
                connection.scalars(
                    sa.select(sa.func.count()).where(PREDICTIONS.c.id.in_(part))
                ).one()
                for part in _parts(list(names))
            )

    def join(self, since: datetime) -> Told:
        """Join labels that wait, of other processes too, `MOST_JOINED` of them.

        A label and its prediction that come at the same time in two processes see nothing of each
        other.

        Args:
            since: In UTC; labels that came later are looked at.
        """
        late = (
            sa.select(LABELS.c.id)
            .join(PREDICTIONS, PREDICTIONS.c.id == LABELS.c.id)
            .where(LABELS.c.received_at >= since, ACCEPTED)
            .order_by(LABELS.c.received_at, LABELS.c.id)  # of too many, the oldest
            .limit(MOST_JOINED)
            # As `add` does: labels are locked first, or the two would wait for each other.
            .with_for_update(of=LABELS, skip_locked=True)
        )
        with self._engine.begin() as connection:
            names = self._valid(connection, connection.scalars(late).all())
            joined = _join(connection, names)
            known, changed = _relabel(connection, names)
        return Told(joined, known, changed, 0)

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            why = why_failed(error, self._url, self._private)
            raise DataError(f"{hide_password(self._url)}: cannot be read: {why}") from error

    def trim(self) -> int:
        """Delete the oldest labels whose predictions are not known, beyond `MOST_WAITING`."""
        unknown = ~sa.exists().where(PREDICTIONS.c.id == LABELS.c.id)
        newest = sa.select(LABELS.c.received_at).order_by(LABELS.c.received_at.desc())
        with self._engine.begin() as connection:
            last = connection.scalar(newest.offset(MOST_WAITING).limit(1))
            if last is None:
                return 0
            older = sa.select(LABELS.c.id).where(LABELS.c.received_at <= last, unknown)
            older = older.with_for_update(of=LABELS, skip_locked=True)
            return connection.execute(sa.delete(LABELS).where(LABELS.c.id.in_(older))).rowcount

    def forget(self, before: datetime) -> int:
        """Delete what is older; return how many predictions and labels that were."""
        with self._engine.begin() as connection:
            deleted = (
                connection.execute(sa.delete(table).where(column < before)).rowcount
                for table, column in (
                    (LABELS, LABELS.c.received_at),  # first, as where they are joined
                    (PREDICTIONS, PREDICTIONS.c.predicted_at),
                    (SHADOW, SHADOW.c.predicted_at),
                    (EXPOSURES, EXPOSURES.c.exposed_at),
                )
            )
            return sum(deleted)

    def _valid(self, connection: sa.Connection, names: Sequence[str]) -> list[str]:
        """Return whose labels are such of this service; set the others aside, and count them."""
        wanted = sa.select(LABELS.c.id, LABELS.c.label)
        found = [
            row
            for part in _parts(names)
            for row in connection.execute(wanted.where(LABELS.c.id.in_(part)))
        ]
        odd = [row.id for row in found if not self._is_valid(row.label)]
        if odd:
            for part in _parts(odd):
                refused = sa.update(LABELS).where(LABELS.c.id.in_(part))
                connection.execute(refused.values(is_refused=True))
            count_labels("failed", len(odd))
            LOGGER.error(
                "%d labels that somebody else wrote into feedback_labels are not of this service; "
                "is_refused is set in their rows, as in that of %r",
                *(len(odd), odd[0]),
            )
        return [row.id for row in found if row.id not in {*odd}]

    def _is_valid(self, label: str) -> bool:
        try:
            self._label.validate_json(label)
        except ValidationError:
            return False
        return True


def _file(url: sa.URL) -> tuple[int, int] | None:
    """Return what tells a file from others of its name; None where there is none."""
    if url.get_backend_name() != "sqlite":
        return None
    try:
        found = Path(str(url.database).removeprefix("file:")).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _expose(connection: sa.Connection, exposures: Mapping[str, Exposure]) -> None:
    if exposures:
        rows = [
            {
                "id": name,
                "experiment": exposures[name].experiment,
                "unit": exposures[name].unit,
                "arm": exposures[name].arm,
                "exposed_at": in_utc(exposures[name].at),
            }
            for name in sorted(exposures)  # in one order, or two would wait for each other
        ]
        insert = INSERTS[connection.dialect.name](EXPOSURES).on_conflict_do_nothing()
        connection.execute(insert, rows)


def _both(stable: str, shadow: str, since: datetime) -> sa.Select[Any]:
    """Return the first row of each request that both versions have predicted.

    Rows of a request are often alike: a hundred would tell no more than one.
    """
    return (
        sa.select(SHADOW.c.id)
        .join(PREDICTIONS, PREDICTIONS.c.id == SHADOW.c.id)
        .where(
            SHADOW.c.model_version == shadow,
            SHADOW.c.predicted_at >= since,
            SHADOW.c.id.like("%-0"),
            PREDICTIONS.c.model_version == stable,
        )
    )


def _wait(connection: sa.Connection, labels: Mapping[str, Label]) -> None:
    """Let labels wait for their predictions; the newest of each stays."""
    now = _clock(connection)
    rows = [
        {"id": name, "label": json.dumps(labels[name]), "received_at": now, "is_refused": None}
        for name in sorted(labels)  # in one order, or two would wait for each other
    ]
    if rows:
        insert = INSERTS[connection.dialect.name](LABELS)
        new = {name: insert.excluded[name] for name in ("label", "received_at", "is_refused")}
        connection.execute(insert.on_conflict_do_update(index_elements=["id"], set_=new), rows)


def _hold(connection: sa.Connection, now: datetime) -> list[str]:
    """Lock the labels that wait, in the order of `_wait`, or two would wait for each other.

    Args:
        connection: To the database.
        now: When predictions were kept.

    Returns:
        The ids of those that have a label.
    """
    kept = sa.select(PREDICTIONS.c.id).where(PREDICTIONS.c.predicted_at == now)
    there = sa.select(LABELS.c.id).where(LABELS.c.id.in_(kept), ACCEPTED)
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time
        there = there.order_by(sa.collate(LABELS.c.id, "C")).with_for_update()
    return list(connection.scalars(there))


def _renew(connection: sa.Connection, names: Sequence[str]) -> None:
    """Let labels be as new, so that others who join look at them."""
    for part in _parts(names):
        renewed = sa.update(LABELS).where(LABELS.c.id.in_(part))
        connection.execute(renewed.values(received_at=_clock(connection)))


def _join(connection: sa.Connection, names: Sequence[str]) -> list[Joined]:
    """Give predictions the labels that wait for them; each is returned once, by one process."""
    of_both = LABELS.c.id == PREDICTIONS.c.id
    given = (
        sa.update(PREDICTIONS)
        .where(PREDICTIONS.c.label.is_(None), sa.exists().where(of_both))
        .values(
            label=sa.select(LABELS.c.label).where(of_both).scalar_subquery(), labelled_at=utc_now()
        )
        .returning(*(PREDICTIONS.c[name] for name in Kept._fields), PREDICTIONS.c.label)
    )
    joined = [
        Joined(Kept(*row[:-1]), json.loads(row.label))
        for part in _parts(names)
        for row in connection.execute(given.where(PREDICTIONS.c.id.in_(part)))
    ]
    _settle(connection, [each.kept.id for each in joined])
    return joined


def _relabel(connection: sa.Connection, names: Sequence[str]) -> tuple[int, int]:
    """Settle labels that wait for predictions which have one; the newest label stays.

    Return how many say the same, and how many something else. Of how good a prediction was, its
    first label was counted.
    """
    both = sa.select(LABELS.c.id, LABELS.c.label, PREDICTIONS.c.label.label("before"))
    both = both.join(PREDICTIONS, PREDICTIONS.c.id == LABELS.c.id)
    found = [
        row
        for part in _parts(names)
        for row in connection.execute(
            both.where(LABELS.c.id.in_(part), PREDICTIONS.c.label.is_not(None))
        )
    ]
    changed = [{"one": row.id, "new": row.label} for row in found if row.label != row.before]
    if changed:
        update = sa.update(PREDICTIONS).where(PREDICTIONS.c.id == sa.bindparam("one"))
        connection.execute(update.values(label=sa.bindparam("new")), changed)
    _settle(connection, [row.id for row in found])
    return len(found) - len(changed), len(changed)


def _settle(connection: sa.Connection, names: Sequence[str]) -> None:
    """Delete labels that wait no longer."""
    for part in _parts(names):
        connection.execute(sa.delete(LABELS).where(LABELS.c.id.in_(part)))


def _parts(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[start : start + AT_ONCE] for start in range(0, len(names), AT_ONCE))


def _clock(connection: sa.Connection) -> datetime:
    """Return the time in UTC, which those who share a server do not know alike."""
    if connection.dialect.name == "postgresql":
        wanted = sa.text("SELECT timezone('UTC', clock_timestamp())")
        now: datetime = connection.scalars(wanted).one()
        return now
    return utc_now()


def in_utc(at: float) -> datetime:
    """Return a Unix time in UTC, without saying so."""
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None)


def utc_now() -> datetime:
    """Return the time in UTC, without saying so: as databases keep it."""
    return datetime.now(UTC).replace(tzinfo=None)
