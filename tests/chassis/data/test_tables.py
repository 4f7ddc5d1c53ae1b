"""Tables of every kind are kept: without a key, without a time, with any names of columns."""

import csv
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.flights import PROJECT
from ml_chassis.data import DataError, pipeline, store
from ml_chassis.data.pipeline import Update
from ml_chassis.data.sources import read
from ml_chassis.data.store import QUARANTINE, Change, Store
from ml_chassis.data.tables import ORIGIN, POSITION, Csv, RawTable
from ml_chassis.project import Project

SALES = RawTable("sales", "", {"day": datetime, "item": str, "price": float}, time="day")
HEAD = "day,item,price\n"


def of(*tables: RawTable) -> Project:
    """Return a project of these raw tables."""
    project = Project("tables", PROJECT.parts)
    project.__dict__["tables"] = tables
    return project


def take(database: Store, table: RawTable, path: Path) -> Update:
    done = Update()
    pipeline._read(database, table, str(path), False, done)
    return done


def change(database: Store) -> Change:
    """Return what is to be built since the last call."""
    found = database.change()
    assert found
    with database._begin() as connection:
        connection.execute(sa.delete(store.STATE).where(store.STATE.c.name == store.CHANGE))
    return found


def rows(database: Store, table: RawTable) -> list[dict[str, Any]]:
    return database.raw(table).to_dicts()


def test_any_names_of_columns_are_kept(database_url: str, tmp_path: Path) -> None:
    names = ["größe (m²)", "100 %", 'a "b"', "position", "select", "x:y.z[1]", "row_position_2"]
    table = RawTable("odd", "", dict.fromkeys(names, str))
    database = Store(of(table), database_url)
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*names[:-1], POSITION], names])

    take(database, table, tmp_path / "a.csv")
    (row,) = rows(database, table)

    assert [row[name] for name in names] == names
    assert row[ORIGIN] == (tmp_path / "a.csv").as_posix()
    assert row[POSITION] == 1
    keyed = replace(table, key=tuple(names[:2]))
    again = Store(of(keyed), database_url)
    take(again, keyed, tmp_path / "a.csv")
    assert rows(again, keyed) == [{name: row[name] for name in names}]
    again.close()
    database.close()


def test_rows_without_a_key_are_replaced_with_their_file(database_url: str, tmp_path: Path) -> None:
    database = Store(of(SALES), database_url)
    change(database)
    old, new = tmp_path / "a.csv", tmp_path / "b.csv"
    old.write_text(HEAD + "2026-01-01,pen,1\n2026-01-02,pen,1\n2026-01-03,ink,\n")
    new.write_text(HEAD + "2026-01-01,pen,1\n")
    take(database, SALES, tmp_path)
    assert change(database).since == datetime(2026, 1, 1)

    old.write_text(HEAD + "2026-01-01,pen,1\n2026-01-04,pen,2\n")
    take(database, SALES, tmp_path)

    stored = rows(database, SALES)
    found = [(Path(row[ORIGIN]).name, row[POSITION], row["day"].day) for row in stored]
    assert found == [("a.csv", 1, 1), ("a.csv", 2, 4), ("b.csv", 1, 1)]
    assert change(database).since == datetime(2026, 1, 2)
    old.write_text(HEAD + "\n2026-01-01,pen,1\n")
    take(database, SALES, tmp_path)
    assert len(rows(database, SALES)) == 2
    old.write_text(HEAD)
    take(database, SALES, tmp_path)
    assert [Path(row[ORIGIN]).name for row in rows(database, SALES)] == ["b.csv"]
    database.close()


def test_repaired_rows_without_a_key_are_replayed(database_url: str, tmp_path: Path) -> None:
    table = replace(SALES, csv=Csv(delimiter=";", decimal=",", time_format="%d.%m.%Y"))
    database = Store(of(table), database_url)
    file = tmp_path / "a.csv"
    file.write_text("day;item;price\n01.01.2026;pen;1,5\n02.01.2026;ink;dear\n;ink;2\n")
    done = take(database, table, file)
    assert done.read[file.as_posix()] == (1, 2)
    reasons = [row["reason"] for row in database.query(sa.select(QUARANTINE))]
    assert reasons == ["price: not a number", "day: missing"]

    with database._begin() as connection:
        mended = sa.func.replace(QUARANTINE.c.content, "dear", "1.002,5")
        connection.execute(sa.update(QUARANTINE).values(content=mended))
    pipeline._replay(database, table, Update())

    found = [(row[POSITION], row["price"]) for row in rows(database, table)]
    assert found == [(1, 1.5), (2, 1002.5)]
    assert len(database.query(sa.select(QUARANTINE))) == 1
    database.close()


def test_another_key_is_another_table(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEAD + "2026-01-01,pen,1\n2026-01-01,ink,2\n2026-01-02,pen,3\n")
    kept = {(): 3, ("day", "item"): 3, ("item",): 2, ("day",): 2}

    for key, expected in [*kept.items(), ((), 3)]:
        table = replace(SALES, key=key)
        database = Store(of(table), database_url)
        take(database, table, tmp_path / "a.csv")

        assert len(rows(database, table)) == expected
        database.close()


def test_what_says_where_a_row_is_from_is_no_column_of_a_table() -> None:
    with pytest.raises(ValueError, match="give row_position another name"):
        RawTable("t", "", {POSITION: int})


def test_a_choice_that_csv_has_for_missing_is_told() -> None:
    table = RawTable("plans", "", {"plan": str})
    contract = SimpleNamespace(labelled=[SimpleNamespace(name="plan", choices=("basic", "None"))])
    project: Any = SimpleNamespace(contract=contract)

    with pytest.raises(DataError, match="plan: the schema has the choice 'None', which is read as"):
        pipeline._require_words(project, table)
    for others in (replace(table, missing=("?",)), replace(table, columns={"other": str})):
        pipeline._require_words(project, others)


def test_a_database_that_another_process_holds_is_named(tmp_path: Path) -> None:
    file = tmp_path / "service.db"
    database = Store(of(SALES), f"sqlite:///{file}?timeout=0.1")
    hold = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
    hold += "c.execute('BEGIN EXCLUSIVE'); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"

        held = f"database is locked by process {process.pid} "
        with pytest.raises(DataError, match=held):
            database.fingerprints("sales")
        with pytest.raises(DataError, match=f"cannot be opened: .*{held}"):
            Store(of(SALES), f"sqlite:///{file}?timeout=0.1")
        with pytest.raises(DataError, match=f"cannot be read: .*{held}"):
            list(read(f"sqlite:///{file}?timeout=0.1&table=origins", {}))
        process.kill()

    assert database.fingerprints("sales") == {}
    database.close()
