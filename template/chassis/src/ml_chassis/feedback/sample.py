"""The answers of a process that are written, by threads beside the requests.

A request only leaves its rows in lists. Above so many rows a second a random share of them is
chosen, each with the same probability, whatever the size of its request. What is drawn is how many
rows to pass over, which is geometrically distributed: all others cost a subtraction.

Of requests that are also sent to a shadow, the first row is chosen by their names instead, so that
both replicas choose the same ones.
"""

from collections.abc import Callable, Sequence
from math import log, log1p
from random import random
from time import time
from typing import Literal, NamedTuple, get_args

import numpy as np

from ..contract import Prediction, Rows, Table

MAX_ROWS_PER_SECOND = 100
"""In one process: a row takes some 30 microseconds in the database, and 60 in BentoML's monitor."""


Arm = Literal["champion", "challenger"]
ARMS: tuple[Arm, Arm] = get_args(Arm)
CHALLENGER = ARMS[1]


class Exposure(NamedTuple):
    """That a unit of an A/B test was answered.

    Attributes:
        experiment: Name of the test.
        unit: A hash of what names it.
        arm: To which it is assigned.
        at: When it was noted, in Unix time; 0 is not yet.
    """

    experiment: str
    unit: str
    arm: Arm
    at: float = 0


MAX_UNITS, MAX_UNITS_PER_SECOND = 20_000, 1_000
"""Units of an A/B test that are known to be noted; and new ones that are, in one process."""


class Noted(NamedTuple):
    """The answer of one request or event, and the positions of its rows that are chosen."""

    id: str
    version: str
    rows: Rows
    predictions: Sequence[Prediction]
    chosen: Sequence[int]
    is_event: bool = False
    exposure: Exposure | None = None
    is_degraded: bool = False

    def name(self, position: int) -> str:
        """Return the id of the prediction of a row."""
        return self.id if self.is_event else f"{self.id}-{position}"


class Chosen(NamedTuple):
    """Rows of several answers, in one order.

    Attributes:
        ids: Of the predictions.
        versions: Of the models that predicted.
        rows: In parts, one for each answer.
        predictions: Of the rows.
    """

    ids: list[str]
    versions: list[str]
    rows: list[Rows]
    predictions: list[Prediction]


class Sample:
    """Chooses rows, and gives them to all who write."""

    def __init__(self, *takers: Callable[[Noted], None], most: int = MAX_ROWS_PER_SECOND) -> None:
        """Take to whom rows are given, and how many a second at most, about."""
        self._takers, self._most = takers, most
        self._offered = self._offered_before = 0
        self._passed_over = 0
        """Rows before the next one that is chosen."""
        self._named = self._named_before = self._named_chosen = 0
        self._exposed: dict[Exposure, None] = {}
        self._new = 0

    def note(
        self,
        name: str,
        version: str,
        rows: Rows,
        predictions: Sequence[Prediction],
        *,
        is_event: bool = False,
        is_named: bool = False,
        exposure: Exposure | None = None,
        is_degraded: bool = False,
    ) -> None:
        """Note the answer of one request or event.

        Args:
            name: Its id; the rows of a request have the ids NAME-0, NAME-1 and so on.
            version: Of the model that predicted.
            rows: What was predicted.
            predictions: Of the rows.
            is_event: Whether it is an event of a stream, whose only row has its id.
            is_named: Whether its id is a UUID that another replica gives its answer, too.
            exposure: What is noted of it for an A/B test.
            is_degraded: Whether the fallback answered; then only the exposure is kept.
        """
        count, at = len(predictions), self._passed_over
        self._offered += count
        if exposure:
            # Not when it is written, which replicas do at different moments.
            exposure = exposure._replace(at=time()) if self._is_new(exposure) else None
        chosen = [0] if at and (exposure or (is_named and self._chooses(name))) else []
        if at >= count and not chosen:
            self._passed_over = at - count
            return
        while at < count:
            chosen.append(at)
            at += 1 + self._draw()
        self._passed_over = at - count
        noted = Noted(name, version, rows, predictions, chosen, is_event, exposure, is_degraded)
        for give in self._takers:
            give(noted)

    def renew(self) -> None:
        """Begin another second."""
        self._offered_before, self._offered = self._offered, 0
        self._named_before, self._named, self._named_chosen = self._named, 0, 0
        self._new = 0
        self._passed_over = self._draw()  # what was drawn before may be far too much now

    def _is_new(self, exposure: Exposure) -> bool:
        """Return whether it is the first one of a unit here: a unit counts once.

        All of these are chosen, as the arms of a test must not be counted in different shares.
        """
        if exposure in self._exposed or self._new >= MAX_UNITS_PER_SECOND:
            return False
        self._new += 1
        self._exposed[exposure] = None
        if len(self._exposed) > MAX_UNITS:
            del self._exposed[next(iter(self._exposed))]
        return True

    def _chooses(self, name: str) -> bool:
        """Return whether the first row of a named request is chosen: the same in all replicas.

        A UUID is random, so its first digits are the draw.
        """
        self._named += 1
        offered = max(self._named, self._named_before)
        chosen = self._named_chosen < self._most and int(name[:8], 16) * offered < self._most << 32
        self._named_chosen += chosen
        return chosen

    def _draw(self) -> int:
        """Return how many rows are passed over before the next one that is chosen."""
        offered = max(self._offered, self._offered_before)
        if offered <= self._most:
            return 0
        return int(log(1.0 - random()) / log1p(-self._most / offered))  # noqa: S311 - not secret


def gather(noted: Sequence[Noted]) -> Chosen:
    """Return the rows of answers that are chosen, together: one by one takes much longer."""
    return Chosen(
        [each.name(at) for each in noted for at in each.chosen],
        [each.version for each in noted for _ in each.chosen],
        [_rows(each.rows, each.chosen) for each in noted],
        [each.predictions[at] for each in noted for at in each.chosen],
    )


def _rows(rows: Rows, positions: Sequence[int]) -> Rows:
    if isinstance(rows, Table):
        chosen = np.array(positions)
        return Table(rows.numeric[chosen], rows.categorical[chosen])
    return [rows[at] for at in positions]
