"""Which rows a model is fitted to, and which it is measured on."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl

from ..errors import UserError
from ..project import Project
from .config import TrainingConfig
from .dataset import to_dataset
from .estimator import Dataset


class SplitError(UserError):
    """One side of the split holds no rows, or does not tell labels apart."""


@dataclass(frozen=True)
class Split:
    """By a day; or, where rows know no time, by a chance that depends on their keys alone.

    So a row stays on its side when others come, and rows with equal keys stay together.

    Attributes:
        project: What the rows are.
        test_from: The day, in UTC, from which on rows are for evaluation.
        test_share: Which share of the rows is, where there is no such day.
        seed: Another one draws others.
    """

    project: Project
    test_from: date | None = None
    test_share: float | None = None
    seed: int = 0

    @classmethod
    def of(cls, config: TrainingConfig) -> "Split":
        """Return the split that training.toml asks for."""
        return cls(config.project, config.test_from, config.test_share, config.seed)

    @property
    def place(self) -> str:
        """Where rows are split, in words."""
        return f"at {self.test_from}" if self.test_from else f"by their keys, seed {self.seed}"

    @property
    def train(self) -> str:
        """Which rows are for training, in words after "rows"."""
        if self.test_share:
            return f"of the {1 - self.test_share:.0%} for training"
        return f"before {self.test_from}"

    @property
    def test(self) -> str:
        """Which rows are for evaluation, in words after "rows"."""
        if self.test_share:
            return f"of the {self.test_share:.0%} for evaluation"
        return f"from {self.test_from} on"

    def divide(self, frame: pl.DataFrame) -> tuple[Dataset, Dataset]:
        """Return the rows for training and those for evaluation.

        Args:
            frame: Keys, features and label.

        Raises:
            SplitError: a side cannot be used.
        """
        later = self.is_test(frame)
        train, test = (to_dataset(self.project, frame.filter(side)) for side in (~later, later))
        for problem in self._problems(train, test):
            raise SplitError(problem)
        return train, test

    def _problems(self, train: Dataset, test: Dataset) -> Iterator[str]:
        """Yield why a model could not be fitted to the one and measured on the other."""
        contract = self.project.contract
        label, classes = contract.label, contract.classes
        way = "another test_from, or evaluation_days," if self.test_from else "another seed"
        for words, side in ((self.train, train), (self.test, test)):
            if not len(side):
                yield f"There are no rows {words}: choose {way} in training.toml."
            if len(np.unique(side.label)) < 2:
                yield (
                    f"The {len(side)} rows {words} do not hold different values of {label!r}: "
                    f"choose {way} in training.toml."
                )
        seen = {classes[index] for index in np.unique(train.label)} if classes else set()
        if unseen := [name for name in classes if name not in seen]:
            way = "a later test_from" if self.test_from else "another seed"
            yield (
                f"Of the {len(train)} rows {self.train} none has {label} {', '.join(unseen)}: "
                f"choose {way} in training.toml, or take the class out of schema.py."
            )
        without = np.all(np.isnan(train.numeric), axis=0)
        if empty := [
            name for name, is_empty in zip(contract.numeric, without, strict=True) if is_empty
        ]:
            yield (
                f"Of the {len(train)} rows {self.train} none has a value of {', '.join(empty)}: "
                "find out why, or take it out of schema.py."
            )

    def is_test(self, frame: pl.DataFrame) -> pl.Series:
        """Return for each row whether it is for evaluation."""
        if self.test_from and self.project.time:
            day = self.test_from
            return frame[self.project.time] >= datetime(day.year, day.month, day.day, tzinfo=UTC)
        share = self.test_share or 0
        drawn = [self._chance(key) < share for key in frame.select(self.project.keys).iter_rows()]
        return pl.Series(drawn, dtype=pl.Boolean)

    def _chance(self, key: tuple[Any, ...]) -> float:
        """Return a number from 0 to 1 that is the same for a key on every machine."""
        text = "\x1f".join(map(str, (self.seed, *key)))
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64
