"""What is decided about messages, kept before anybody is told: predictions and dead letters.

A person may query them:

    SELECT reason, count(*) FROM dead_letters GROUP BY reason
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..contract import Contract
from ..data.database import INSERTS, open_database
from .events import DeadLetter, Prediction

DEAD_LETTERS = sa.Table(
    "dead_letters",
    sa.MetaData(),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False, comment="topic and position of the message"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False, comment="as it came; what is no text as \\xff"),
    sa.Column("raw", sa.LargeBinary, comment="as it came, where the body is not just that"),
    sa.Column("found_at", sa.DateTime, nullable=False, index=True, comment="in UTC"),
)


def _predictions(contract: Contract, metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "predictions",
        metadata,
        sa.Column("id", sa.Text, primary_key=True, comment="of the event, given by its sender"),
        sa.Column("fingerprint", sa.Text, nullable=False, comment="of the row that was predicted"),
        sa.Column("prediction", sa.JSON if contract.classes else sa.Double, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("degraded", sa.Text, comment="why it is not the model's answer"),
        sa.Column("predicted_at", sa.DateTime, nullable=False, index=True, comment="in UTC"),
    )


class Sink:
    """The database; each method is one transaction and may be called again."""

    def __init__(self, contract: Contract, url: str) -> None:
        """Open it, and make the tables that it does not have.

        Raises:
            DataError: it cannot be opened.
        """
        tables = sa.MetaData()
        DEAD_LETTERS.to_metadata(tables)
        self._predictions = _predictions(contract, tables)
        self._engine = open_database(url, tables, bool(contract.personal))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def find(self, ids: Iterable[str]) -> dict[str, Prediction]:
        """Return the predictions that are kept of some events."""
        columns = (self._predictions.c[name] for name in Prediction._fields)
        chosen = sa.select(*columns).where(self._predictions.c.id.in_(list(ids)))
        with self._engine.begin() as connection:
            return {row.id: Prediction(*row) for row in connection.execute(chosen)}

    def keep(self, predictions: Iterable[Prediction]) -> None:
        """Keep predictions; where there is one of the event already, that one stays."""
        self._insert(self._predictions, predictions, "predicted_at")

    def bury(self, letters: Iterable[DeadLetter]) -> None:
        """Keep dead letters, each once."""
        self._insert(DEAD_LETTERS, letters, "found_at")

    def buried(self, topic: str) -> Iterator[DeadLetter]:
        """Yield the dead letters that came from a topic, the oldest first."""
        all_of_them = sa.select(DEAD_LETTERS.c.id, DEAD_LETTERS.c.origin)
        oldest_first = all_of_them.order_by(DEAD_LETTERS.c.found_at)
        columns = (DEAD_LETTERS.c[name] for name in DeadLetter._fields)
        letter = sa.select(*columns).where(DEAD_LETTERS.c.id == sa.bindparam("one"))
        with self._engine.begin() as connection:
            found = connection.execute(oldest_first).all()
            names = [row.id for row in found if row.origin.partition(" ")[0] == topic]
        for name in names:
            with self._engine.begin() as connection:
                still = connection.execute(letter, {"one": name}).one_or_none()
            if still:
                yield DeadLetter(*still)

    def forget(self, letter: DeadLetter) -> None:
        """Delete a dead letter."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(DEAD_LETTERS).where(DEAD_LETTERS.c.id == letter.id))

    def _insert(self, table: sa.Table, kept: Iterable[NamedTuple], time: str) -> None:
        now = datetime.now(UTC).replace(tzinfo=None)
        # In one order, or two consumers would wait for each other's rows.
        rows: list[dict[str, Any]] = sorted(
            ({**each._asdict(), time: now} for each in kept), key=lambda row: str(row["id"])
        )
        if rows:
            with self._engine.begin() as connection:
                insert = INSERTS[connection.dialect.name](table)
                connection.execute(insert.on_conflict_do_nothing(), rows)
