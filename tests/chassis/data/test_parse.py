"""A value is read as its type says, or its row is refused with the reason."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from ml_chassis.data import DataError
from ml_chassis.data.parse import Parsed, parse
from ml_chassis.data.tables import PLAIN, POSITION, Csv, Epoch, RawTable, Type


def parsed(
    kind: Type,
    values: list[Any],
    dtype: Any = None,
    csv: Csv = PLAIN,
    missing: tuple[str, ...] | None = None,
    epoch: Epoch | None = None,
    words: bool = True,
) -> Parsed:
    """Read values as a type, of CSV unless said otherwise."""
    positions = list(range(1, len(values) + 1))
    table = RawTable(
        "t", "", {"id": int, "value": kind}, key=("id",), csv=csv, missing=missing, epoch=epoch
    )
    columns = {"id": positions, "value": pl.Series(values, dtype=dtype), POSITION: positions}
    return parse(pl.DataFrame(columns), table, words=words)


NOON = datetime(2026, 1, 31, 12)
UNIT = 'value: a number; say its unit in the raw table, such as epoch="s"'


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
        (int, Decimal(9007199254740993), 9007199254740993),
        (int, "9007199254740993.0", 9007199254740993),
        (float, 12, 12.0),
        (bool, "Yes", True),
        (bool, "0", False),
        (bool, 1, True),
        (datetime, "2026-01-31T12:00:00Z", NOON),
        (datetime, "2026-01-31 13:00+01:00", NOON),
        (datetime, "2026-01-31", datetime(2026, 1, 31)),
        (str, 12, "12"),
        (bool, 1.0, True),
        (datetime, "20260131", datetime(2026, 1, 31)),
        (datetime, date(2026, 1, 31), datetime(2026, 1, 31)),
    ],
)
def test_what_can_be_read(kind: Type, given: Any, expected: Any) -> None:
    assert parsed(kind, [given]).rows["value"].to_list() == [expected]


COMMA = Csv(decimal=",", time_format="%d.%m.%Y %H:%M")
OWN = ("?", "Keine", "-999")


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
    found = parsed(kind, [given], csv=csv, missing=OWN)

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
        (str, [1], "value: not text"),
        (float, {"a": 1}, "value: not a number"),
        (int, NOON, "value: not a whole number"),
        (float, timedelta(1), "value: not a number"),
        (bool, 2.0, "value: not true or false"),
        (bool, 0.5, "value: not true or false"),
        (int, 2.0**53 + 2, "value: not a whole number"),
        (str, b"\xff", "value: not text"),
        (str, timedelta(1), "value: not text"),
        *((datetime, number, UNIT) for number in (1_700_000_000, 1.7e9, 1_712_010_111_234)),
        *((datetime, digits, UNIT) for digits in ("1700000000", "1712010111234", "2026", "1.5")),
    ],
)
def test_what_cannot_be_read(kind: Type, given: Any, reason: str) -> None:
    found = parsed(kind, [given])

    assert found.rows.height == 0
    assert [(each.position, each.reason) for each in found.refused] == [(1, reason)]


@pytest.mark.parametrize(
    ("word", "missing", "words", "expected"),
    [
        ("NA", None, True, None),
        ("NA", (), True, "NA"),
        ("NA", ("?",), True, "NA"),
        ("", (), True, None),
        ("NA", None, False, "NA"),
        ("", None, False, ""),
        ("?", ("?",), False, None),
        (-999, ("-999",), False, None),
        (-999.0, ("-999",), False, None),
        (-998, ("-999",), False, "-998"),
    ],
)
def test_which_words_are_missing_is_said_by_the_table(
    word: Any, missing: tuple[str, ...] | None, words: bool, expected: str | None
) -> None:
    found = parsed(str, [word], missing=missing, words=words)

    assert found.rows["value"].to_list() == [expected]


@pytest.mark.parametrize(
    ("epoch", "given"),
    [
        ("s", 1_769_860_800),
        ("s", 1_769_860_800.0),
        ("s", "1769860800"),
        ("ms", 1_769_860_800_000),
        ("ms", "1769860800000"),
        ("us", 1_769_860_800_000_000),
        ("ns", 1_769_860_800_000_000_000),
        ("s", "2026-01-31T12:00:00Z"),
    ],
)
def test_a_number_is_a_time_where_its_unit_is_stated(epoch: Epoch, given: Any) -> None:
    assert parsed(datetime, [given], epoch=epoch).rows["value"].to_list() == [NOON]


@pytest.mark.parametrize(
    ("epoch", "given"),
    [("s", 1_769_860_800_000), ("s", 9e300), ("ms", -(2**62)), ("us", 2**62), ("s", "1e999")],
)
def test_a_time_of_no_year_is_refused(epoch: Epoch, given: Any) -> None:
    assert len(parsed(datetime, [given], epoch=epoch).refused) == 1


def test_categories_are_text() -> None:
    dtype = pl.Enum(["1", "na"])

    assert parsed(int, ["1", "na"], dtype).rows["value"].to_list() == [1, None]


def test_a_row_without_its_key_is_refused_and_the_last_of_equal_ones_kept() -> None:
    table = RawTable("t", "", {"id": str, "value": int}, key=("id",))
    frame = pl.DataFrame(
        {"id": ["a", "", "a"], "value": ["1", "2", "3"], POSITION: [1, 2, 3], "more": "x"}
    )

    found = parse(frame, table, words=True)

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
    with pytest.raises(ValueError, match=r"give missing as a tuple, \(\"\?\",\)"):
        RawTable("t", "", {"id": str}, missing="?")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give epoch as one of s, ms, us, ns"):
        RawTable("t", "", {"id": str}, epoch="min")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one character"):
        Csv(delimiter="||")
    with pytest.raises(ValueError, match=r"\. or , for decimal"):
        Csv(decimal="'")
