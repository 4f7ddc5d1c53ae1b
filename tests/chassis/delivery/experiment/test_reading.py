"""Exposures of a file or table become units, or the message names row and column."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa

from ml_chassis.batch import ScoreError
from ml_chassis.delivery.experiment.analysis import Units
from ml_chassis.delivery.experiment.reading import read_units

NOON = datetime(2026, 11, 1, 12)
ROWS = pl.DataFrame(
    {
        "unit": ["a", "b", "a", "c", "b", "d", "c", "e"],
        "arm": ["champion", "challenger"] * 2 + ["challenger"] + ["champion"] * 3,
        "outcome": [None, 2.0, 1.5, 4.0, 9.0, None, 5.0, -3.0],
        "at": [NOON.replace(minute=each) for each in (5, 4, 6, 7, 8, 9, 3, 1)],
        "else": 1,
    }
)
"""The unit c is in both arms, and e comes first."""


def told(units: Units) -> tuple[list[bool], list[float | None], int, int]:
    """Return the units, with None where an outcome is not known."""
    known = [None if np.isnan(each) else float(each) for each in units.outcome]
    return units.challenger.tolist(), known, units.repeated, units.mixed


def expect(units: Units) -> None:
    """Expect what the rows say."""
    assert told(units) == ([False, True, False, False], [-3.0, 2.0, 1.5, None], 3, 1)
    assert units.at is not None
    assert units.at.astype(datetime).tolist() == [
        NOON.replace(minute=each) for each in (1, 4, 5, 9)
    ]


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.jsonl"])
def test_a_unit_counts_once_by_its_first_known_outcome(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / name)
    if name.endswith(".csv"):
        ROWS.write_csv(path)
    elif name.endswith(".parquet"):
        ROWS.write_parquet(path)
    else:
        ROWS.write_ndjson(path)

    expect(read_units(path, private=False))


def test_a_table_is_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    kinds: dict[str, Any] = {"unit": sa.Text, "arm": sa.Text, "outcome": sa.Double, "at": sa.Text}
    columns: list[sa.Column[Any]] = [sa.Column(name, kind) for name, kind in kinds.items()]
    table = sa.Table("exposures", sa.MetaData(), *columns)
    rows = ROWS.with_columns(pl.col("at").dt.to_string("iso:strict")).select(*kinds).to_dicts()
    with sa.create_engine(url).begin() as connection:
        table.create(connection)
        connection.execute(sa.insert(table), rows)

    expect(read_units(f"{url}?table=exposures", private=False))


def of_text(text: str, folder: Path) -> Units:
    path = folder / "rows.csv"
    path.write_text(text)
    return read_units(str(path), private=False)


def test_without_times_the_rows_are_in_order(tmp_path: Path) -> None:
    text = "outcome,arm,unit\n1,challenger,7\nNA,champion,8\n2,champion,8\n0,challenger,7\n"

    units = of_text(text, tmp_path)

    assert told(units) == ([True, False], [1.0, 2.0], 2, 0)
    assert units.at is None


def test_a_time_may_be_seconds_since_1970(tmp_path: Path) -> None:
    at = int(NOON.replace(tzinfo=UTC).timestamp())
    rows = f"a,champion,1,{at}\nb,challenger,1,2026-11-01T14:00:00+02:00\n"

    units = of_text(f"unit,arm,outcome,at\n{rows}", tmp_path)

    assert units.at is not None
    assert units.at.astype(datetime).tolist() == [NOON, NOON]


GOOD = "a,champion,1,2026-11-01\nb,challenger,0,2026-11-02\n"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("c,control,1,2026-11-01\n", "row 3: arm: give champion or challenger"),
        ("c,,1,2026-11-01\n", "row 3: arm: missing"),
        (",champion,1,2026-11-01\n", "row 3: unit: missing"),
        ("c,champion,much,2026-11-01\n", "row 3: outcome: not a number"),
        ("c,champion,inf,2026-11-01\n", "row 3: outcome: not a finite number"),
        ("c,champion,-1e200,2026-11-01\n", "row 3: outcome: not a finite number"),
        ("c,champion,1,soon\n", "row 3: at: not a time"),
        ("c,champion,1,\n", "row 3: at: missing"),
        ("c,champion,1,2026-11-01,1\n", "row 3: "),
        ("c,x,y,z\n", "row 3: outcome: not a number; at: not a time"),
        ("c,control,1,2026-11-01\n" * 12, "and 2 more"),
    ],
)
def test_a_wrong_value_is_named(rows: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ScoreError) as refused:
        of_text(f"unit,arm,outcome,at\n{GOOD}{rows}", tmp_path)

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no column unit"),
        ("unit,arm,outcome\n", "there is no row"),
        ("user,arm,outcome\na,champion,1\n", "there is no column unit"),
        ("a,b\n1,2\n", "no column unit and no column arm and no column outcome"),
        ("unit,arm,outcome\na,champion,1\n", "there is no unit of the challenger"),
        ("unit,arm,outcome\na,challenger,1\n", "there is no unit of the champion"),
        ("unit,arm,outcome\na,challenger,1\na,champion,1\n", "each unit is in both arms"),
    ],
)
def test_what_cannot_be_compared_is_told(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ScoreError) as refused:
        of_text(text, tmp_path)

    assert said in str(refused.value)
