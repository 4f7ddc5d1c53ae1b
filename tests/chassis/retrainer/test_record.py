"""How often a retraining begins is kept in the database, whatever ends the process."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from ml_chassis.data import DataError
from ml_chassis.data.lock import BusyError
from ml_chassis.retrainer import record as module
from ml_chassis.retrainer.record import OUTCOMES, DeclinedError, Outcome, Record
from ml_chassis.training.config import RetrainingConfig

START = datetime(2026, 1, 1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LIMITS = RetrainingConfig(hours_between=24, maximum_per_month=3)
FREE = RetrainingConfig(hours_between=0, maximum_per_month=1_000)


class Clock:
    """The time, which a test sets."""

    now = START


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "_now", lambda: made.now)
    return made


@pytest.fixture
def record(database_url: str) -> Iterator[Record]:
    """Return one of which this process is the only one."""
    made = Record(database_url)
    with made.only_one():
        yield made


def retrained(record: Record, outcome: Outcome, limits: RetrainingConfig = FREE) -> int:
    number = record.begin("alert Drift", limits)
    record.end(number, outcome, "as tested")
    return number


def test_one_begins_and_what_came_of_it_is_kept(record: Record, clock: Clock) -> None:
    number = record.begin("alert Drift", LIMITS)
    assert record.last(9) == [(number, START, None, "alert Drift", "running", "")]

    clock.now += HOUR
    record.end(number, "promoted", "it is better")
    assert record.last(9) == [
        (number, START, START + HOUR, "alert Drift", "promoted", "it is better")
    ]
    ends = dict.fromkeys(OUTCOMES, 0.0)
    assert record.ends() == {**ends, "promoted": clock.now.replace(tzinfo=UTC).timestamp()}


def test_never_two_at_once(record: Record, clock: Clock) -> None:
    record.begin("alert Drift", FREE)
    clock.now += 400 * DAY
    with pytest.raises(DeclinedError, match="one runs since 2026-01-01 00:00 UTC"):
        record.begin("alert Age", FREE)
    assert [each.outcome for each in record.last(9)] == ["declined", "running"]


def test_some_hours_pass_between_two(record: Record, clock: Clock) -> None:
    retrained(record, "promoted", LIMITS)
    clock.now += 24 * HOUR - timedelta(seconds=1)
    with pytest.raises(DeclinedError, match="the next begins from 2026-01-02 00:00 UTC on"):
        record.begin("alert Drift", LIMITS)
    assert "hours_between in training.toml is 24" in record.why_not(LIMITS)
    clock.now += timedelta(seconds=1)
    assert record.why_not(LIMITS) == ""
    record.begin("alert Drift", LIMITS)


def test_a_time_to_come_that_a_wrong_clock_left_holds_up_nothing(
    record: Record, clock: Clock
) -> None:
    clock.now += 2_000 * DAY
    for _ in range(LIMITS.maximum_per_month):
        retrained(record, "promoted")
    clock.now = START

    assert record.why_not(LIMITS) == ""
    record.begin("alert Drift", LIMITS)


def test_no_more_than_the_budget_in_a_month(record: Record, clock: Clock) -> None:
    for outcome in ("promoted", "failed", "asked"):
        retrained(record, outcome, LIMITS)
        clock.now += 2 * DAY
    with pytest.raises(DeclinedError, match="3 began in the last 30 days.*2026-01-31 00:00 UTC on"):
        record.begin("alert Drift", LIMITS)
    clock.now = START + 30 * DAY + HOUR
    retrained(record, "refused", LIMITS)
    clock.now += DAY
    with pytest.raises(DeclinedError, match="2026-02-02 00:00 UTC on"):
        record.begin("alert Drift", LIMITS)


@pytest.mark.parametrize("outcome", ["not_asked", "declined"])
def test_what_did_not_begin_neither_waits_nor_counts(outcome: Outcome, record: Record) -> None:
    for _ in range(5):
        retrained(record, outcome, LIMITS)
    assert record.why_not(LIMITS) == ""


def test_to_find_nothing_new_neither_waits_nor_counts(record: Record, clock: Clock) -> None:
    for _ in range(5):
        retrained(record, "nothing_new", LIMITS)
    assert record.why_not(LIMITS) == ""
    retrained(record, "promoted", LIMITS)
    clock.now += 23 * HOUR
    assert "hours_between" in record.why_not(LIMITS)


def test_an_alert_that_asks_for_days_is_declined_in_one_row(record: Record, clock: Clock) -> None:
    retrained(record, "promoted", LIMITS)
    for name in ("alert Drift", "alert Age"):
        clock.now += HOUR
        with pytest.raises(DeclinedError):
            record.begin(name, LIMITS)
    assert [(each.outcome, each.asked_by) for each in record.last(9)] == [
        ("declined", "alert Age"),
        ("promoted", "alert Drift"),
    ]
    assert [each.outcome for each in record.last(1)] == ["declined"]


def test_one_that_a_killed_retrainer_left_is_closed_and_counts(database_url: str) -> None:
    with Record(database_url).only_one():
        Record(database_url).begin("alert Drift", LIMITS)
    with Record(database_url).only_one():
        (found,) = Record(database_url).last(9)
        assert (found.outcome, found.reason) == ("killed", "the retrainer was killed")
        with pytest.raises(DeclinedError, match="hours_between"):
            Record(database_url).begin("alert Drift", LIMITS)


@pytest.mark.usefixtures("record")
def test_a_second_retrainer_is_told_who_is_there(database_url: str) -> None:
    with (
        pytest.raises(BusyError, match=f"Another retrainer runs: process {os.getpid()} on "),
        Record(database_url).only_one(),
    ):
        pass


def test_a_database_that_fails_is_told(record: Record, database_url: str) -> None:
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE retrainings")
        connection.exec_driver_sql(
            "CREATE TABLE retrainings (id INTEGER PRIMARY KEY, x TEXT NOT NULL)"
        )
    engine.dispose()
    with pytest.raises(DataError):
        record.begin("alert Drift", LIMITS)
