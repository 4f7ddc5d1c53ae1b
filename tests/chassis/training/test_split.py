"""Rows are split by a day, or where they know no time, by a chance that follows from their keys."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from chassis.flights import CONTRACT, PROJECT
from ml_chassis.project import Project
from ml_chassis.training.config import CONFIG, ConfigError, read
from ml_chassis.training.split import Split, SplitError

CLASSES = CONTRACT.classes
LABEL = CONTRACT.label
TASK = CONTRACT.task
example_row = CONTRACT.example_row

LABELS = {"binary": [False, True], "multiclass": CLASSES, "regression": [0.0, 1.0]}[TASK]
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def frame(rows: int, first: int = 0) -> pl.DataFrame:
    """Return rows, a day apart where they know a time, whose labels come in turn."""
    numbers = range(first, first + rows)
    made = [
        {
            **example_row(),
            **dict.fromkeys(PROJECT.keys, number),
            LABEL: LABELS[number % len(LABELS)],
        }
        for number in numbers
    ]
    times = [BEGIN + timedelta(days=number) for number in numbers]
    table = pl.DataFrame(made)
    return table.with_columns(pl.Series(PROJECT.time, times)) if PROJECT.time else table


def drawn(split: Split, rows: pl.DataFrame) -> list[bool]:
    return split.is_test(rows).to_list()


@pytest.mark.skipif(PROJECT.time is None, reason="rows know no time")
def test_a_day_splits_rows_that_know_a_time() -> None:
    split = Split(PROJECT, test_from=date(2026, 2, 1))
    train, test = split.divide(frame(60))

    assert (len(train), len(test)) == (31, 29)
    assert (split.train, split.test) == ("before 2026-02-01", "from 2026-02-01 on")
    with pytest.raises(SplitError, match="There are no rows from 2027-01-01 on: choose"):
        Split(PROJECT, test_from=date(2027, 1, 1)).divide(frame(60))


def test_a_share_is_drawn_by_the_keys() -> None:
    split = Split(PROJECT, test_share=0.25, seed=1)
    train, test = split.divide(frame(4000))

    assert len(train) + len(test) == 4000
    assert 0.22 < len(test) / 4000 < 0.28
    assert (split.train, split.test) == ("of the 75% for training", "of the 25% for evaluation")
    with pytest.raises(SplitError, match="choose another seed"):
        split.divide(frame(1))


def test_a_row_stays_on_its_side() -> None:
    split, rows = Split(PROJECT, test_share=0.25, seed=1), frame(400)
    sides = drawn(split, rows)

    assert drawn(split, pl.concat([frame(300, first=400), rows]))[300:] == sides
    assert drawn(split, rows.reverse())[::-1] == sides
    larger = drawn(Split(PROJECT, test_share=0.4, seed=1), rows)
    assert all(now or not before for before, now in zip(sides, larger, strict=True))
    assert drawn(Split(PROJECT, test_share=0.25, seed=2), rows) != sides


@pytest.mark.parametrize(
    ("time", "settings", "message"),
    [
        (
            "at",
            "test_share = 0.25",
            "rows have a time, at in src/model_service/features.py: give test_from",
        ),
        ("at", "test_share = 0.25\ntest_from = 2026-01-01", "and no test_share"),
        ("at", "", "give test_from"),
        (None, "test_from = 2026-01-01", "rows know no time.* give test_share"),
        (None, "test_share = 0.25\ntest_from = 2026-01-01", "and no test_from"),
        (None, "test_share = 1.0", "test_share: Input should be less than 1"),
        (None, "test_share = 0.25", "gates.decay compares months.* delete it"),
    ],
)
def test_the_way_that_fits_is_asked_for(
    tmp_path: Any, time: str | None, settings: str, message: str
) -> None:
    project = Project("timeless", PROJECT.parts)
    project.__dict__["time"] = time
    lines = CONFIG.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("test_from", "test_share"))]
    decay = '\n[gates.decay]\nmaximum = 1\nreason = "of the test"\n'
    text = "\n".join([settings, *kept])
    (tmp_path / "training.toml").write_text(text + ("" if "[gates.decay]" in text else decay))

    with pytest.raises(ConfigError, match=message):
        read(project, tmp_path / "training.toml")


def test_a_feature_that_no_row_has_is_named() -> None:
    rows = frame(4000).with_columns(seats=pl.lit(None, pl.Int64))

    with pytest.raises(SplitError, match="none has a value of seats: find out why"):
        Split(PROJECT, test_share=0.25).divide(rows)
