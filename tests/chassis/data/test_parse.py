"""A value is read as its type says, or its row is refused with the reason."""

from datetime import datetime
from typing import Any

import polars as pl
import pytest

from ml_chassis.data import DataError
from ml_chassis.data.parse import Parsed, parse
from ml_chassis.data.tables import PLAIN, POSITION, Csv, RawTable, Type


def parsed(kind: Type, values: list[Any], dtype: Any = None, csv: Csv = PLAIN) -> Parsed:
    """Read values as a type."""
    positions = list(range(1, len(values) + 1))
    table = RawTable("t", "", {"id": int, "value": kind}, key=("id",), csv=csv)
    columns = {"id": positions, "value": pl.Series(values, dtype=dtype), POSITION: positions}
    return parse(pl.DataFrame(columns), table)


NOON = datetime(2026, 1, 31, 12)


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (str, " EWR ", "EWR"),
        (str, "n/a", None),
        (int, "12", 12),
        (int, "12.0", 12),
        (int, "9007199254740993", 9007199254740993),
        (float, "1e3", 1000.0),
        (float, "NaN", None),
        (float, float("nan"), None),
        (int, 12.0, 12),
        (float, 12, 12.0),
        (bool, "Yes", True),
        (bool, "0", False),
        (bool, 1, True),
        (datetime, "2026-01-31T12:00:00Z", NOON),
        (datetime, "2026-01-31 13:00+01:00", NOON),
        (datetime, "2026-01-31", datetime(2026, 1, 31)),
        (str, 12, "12"),
    ],
)
def test_what_can_be_read(kind: Type, given: Any, expected: Any) -> None:
    assert parsed(kind, [given]).rows["value"].to_list() == [expected]


COMMA = Csv(decimal=",", missing=("?", "Keine", "-999"), time_format="%d.%m.%Y %H:%M")


@pytest.mark.parametrize(
    ("kind", "given", "csv", "expected"),
    [
        (float, "1,234.5", Csv(), 1234.5),
        (float, "-1,234,567", Csv(), -1234567.0),
        (int, "12,34,567", Csv(), 1234567),
        (int, "1 234", Csv(), 1234),
        (float, "1'234.5", Csv(), 1234.5),
        (float, "1,5", COMMA, 1.5),
        (float, "1.234.567,25", COMMA, 1234567.25),
        (float, "1\u202f234,5", COMMA, 1234.5),
        (float, ",5", COMMA, 0.5),
        (int, "1.234", COMMA, 1234),
        (int, "12,0", COMMA, 12),
        (float, "?", COMMA, None),
        (str, "keine", COMMA, None),
        (int, "-999", COMMA, None),
        (float, 1.5, COMMA, 1.5),
        (str, "1,5", COMMA, "1,5"),
        (datetime, "31.01.2026 12:00", COMMA, NOON),
        (datetime, "01/31/26 1:00 PM +0100", Csv(time_format="%m/%d/%y %I:%M %p %z"), NOON),
    ],
)
def test_what_can_be_read_in_a_dialect(kind: Type, given: Any, csv: Csv, expected: Any) -> None:
    found = parsed(kind, [given], csv=csv)

    assert found.refused == []
    assert found.rows["value"].to_list() == [expected]


@pytest.mark.parametrize(
    ("kind", "given", "reason"),
    [
        (float, "1.5", "value: not a number"),
        (float, "1,234,5", "value: not a number"),
        (int, "1,5", "value: not a whole number"),
        (datetime, "2026-01-31", "value: not a time, such as 31.01.2026 12:00"),
    ],
)
def test_what_is_written_otherwise_is_refused(kind: Type, given: str, reason: str) -> None:
    assert [each.reason for each in parsed(kind, [given], csv=COMMA).refused] == [reason]


def test_times_with_a_zone_become_utc() -> None:
    zone = pl.Datetime("ms", "America/New_York")
    given = pl.Series([NOON]).dt.replace_time_zone("UTC").cast(zone).to_list()

    assert parsed(datetime, given, zone).rows["value"].to_list() == [NOON]


@pytest.mark.parametrize(
    ("kind", "given", "reason"),
    [
        (int, "12.5", "value: not a whole number"),
        (int, 12.5, "value: not a whole number"),
        (float, "1,5", "value: not a number"),
        (bool, "maybe", "value: not true or false"),
        (datetime, "31.01.2026", "value: not a time, such as 2026-01-31T12:00:00Z"),
    ],
)
def test_what_cannot_be_read(kind: Type, given: Any, reason: str) -> None:
    found = parsed(kind, [given])

    assert found.rows.height == 0
    assert [(each.position, each.reason) for each in found.refused] == [(1, reason)]


def test_a_row_without_its_key_is_refused_and_the_last_of_equal_ones_kept() -> None:
    table = RawTable("t", "", {"id": str, "value": int}, key=("id",))
    frame = pl.DataFrame(
        {"id": ["a", "", "a"], "value": ["1", "2", "3"], POSITION: [1, 2, 3], "more": "x"}
    )

    found = parse(frame, table)

    assert found.rows.to_dicts() == [{"id": "a", "value": 3}]
    assert [each.reason for each in found.refused] == ["id: missing"]


def test_a_column_that_is_not_there_is_named() -> None:
    table = RawTable("t", "", {"id": str, "value": int}, key=("id",))
    frame = pl.DataFrame({"id": ["a"], POSITION: [1]})

    with pytest.raises(DataError, match="no column value"):
        parse(frame, table)
    assert parse(frame, table, sparse=True).rows.to_dicts() == [{"id": "a", "value": None}]


def test_a_declaration_is_checked() -> None:
    with pytest.raises(ValueError, match="declare the columns time"):
        RawTable("t", "", {"id": str}, key=("id",), time="time")
    with pytest.raises(ValueError, match="declare the columns name"):
        RawTable("t", "", {"id": str}, key=("id",), personal=frozenset({"name"}))
    with pytest.raises(ValueError, match="declare id as a datetime"):
        RawTable("t", "", {"id": str}, key=("id",), time="id")
    with pytest.raises(ValueError, match="one character"):
        Csv(delimiter="||")
    with pytest.raises(ValueError, match=r"\. or , for decimal"):
        Csv(decimal="'")
