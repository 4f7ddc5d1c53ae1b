"""What a worker notes of its answers, for a thread that writes them once a second.

A request only leaves its rows in a list. Above so many rows a second a random share of them is
chosen, each with the same probability, whatever the size of its request.
"""

import random
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..contract import Prediction, Rows, Table


class Noted(NamedTuple):
    """The answer of one request or event, and how many of its rows are chosen."""

    id: str
    version: str
    rows: Rows
    predictions: Sequence[Prediction]
    few: int
    is_event: bool = False

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
    """The answers since it was taken last."""

    def __init__(self, most: int) -> None:
        """Take how many rows a second are chosen at most, about."""
        self._most = most
        self._noted = deque[Noted]()
        self._offered = self._offered_before = 0
        self._random = np.random.default_rng()

    def note(
        self,
        name: str,
        version: str,
        rows: Rows,
        predictions: Sequence[Prediction],
        *,
        is_event: bool = False,
    ) -> None:
        """Note the answer of one request or event.

        Args:
            name: Its id; the rows of a request have the ids NAME-0, NAME-1 and so on.
            version: Of the model that predicted.
            rows: What was predicted.
            predictions: Of the rows.
            is_event: Whether it is an event of a stream, whose only row has its id.
        """
        few = len(predictions)
        self._offered += few
        offered = max(self._offered, self._offered_before)
        if offered > self._most:
            few = int(self._random.binomial(few, self._most / offered))
        if few:
            self._noted.append(Noted(name, version, rows, predictions, few, is_event))

    def take(self) -> list[Noted]:
        """Return what was noted, and begin anew; is called every second."""
        # Others may note more meanwhile.
        noted = [self._noted.popleft() for _ in range(len(self._noted))]
        self._offered_before, self._offered = self._offered, 0
        return noted


def choose(noted: Sequence[Noted]) -> Chosen:
    """Choose the rows of answers, together: one by one takes much longer."""
    chosen = [sorted(random.sample(range(len(each.predictions)), each.few)) for each in noted]
    both = list(zip(noted, chosen, strict=True))
    return Chosen(
        [each.name(at) for each, positions in both for at in positions],
        [each.version for each in noted for _ in range(each.few)],
        [_rows(each.rows, positions) for each, positions in both],
        [each.predictions[at] for each, positions in both for at in positions],
    )


def _rows(rows: Rows, positions: Sequence[int]) -> Rows:
    if isinstance(rows, Table):
        chosen = np.array(positions)
        return Table(rows.numeric[chosen], rows.categorical[chosen])
    return [rows[at] for at in positions]
