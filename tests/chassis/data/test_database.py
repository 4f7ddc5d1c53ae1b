"""Databases of earlier versions are opened, with their rows; columns that came later are added."""

from typing import Any

import pytest
import sqlalchemy as sa

from chassis.flights import CONTRACT, PROJECT
from ml_chassis.data import DataError, database
from ml_chassis.data.database import hide_password, open_database
from ml_chassis.data.store import METADATA, Store
from ml_chassis.streaming.sink import Sink

# What version 0.2 made, with a row in each. When a column is added to a table of the library, this
# stays as it is.
TABLES_OF_0_2 = """
CREATE TABLE quarantine (id INTEGER PRIMARY KEY, source TEXT NOT NULL, origin TEXT NOT NULL,
    position BIGINT, time TIMESTAMP, reason TEXT NOT NULL, content TEXT NOT NULL,
    found_at TIMESTAMP NOT NULL);
INSERT INTO quarantine VALUES (1, 'flights', 'a.csv', 1, NULL, 'no number', '{}',
    '2026-01-31 12:00:00');
CREATE TABLE origins (source TEXT NOT NULL, origin TEXT NOT NULL, fingerprint TEXT NOT NULL,
    rows BIGINT NOT NULL, refused BIGINT NOT NULL, read_at TIMESTAMP NOT NULL,
    PRIMARY KEY (source, origin));
INSERT INTO origins VALUES ('flights', 'a.csv', 'f', 1, 1, '2026-01-31 12:00:00');
CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO state VALUES ('code', 'c');
CREATE TABLE runs (id INTEGER PRIMARY KEY, at TIMESTAMP NOT NULL, kind TEXT NOT NULL,
    name TEXT NOT NULL, study TEXT NOT NULL, outcome TEXT NOT NULL,
    seconds DOUBLE PRECISION NOT NULL, code_version TEXT NOT NULL, data_sha256 TEXT NOT NULL,
    schema_sha256 TEXT NOT NULL, config_sha256 TEXT NOT NULL, parameters JSON NOT NULL,
    measures JSON NOT NULL, environment JSON NOT NULL);
INSERT INTO runs VALUES (1, '2026-01-31 12:00:00', 'train', 'a', '', 'registered', 1.5, 'c', 'd',
    's', 'c', '{}', '{}', '{}');
CREATE TABLE predictions (id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL,
    prediction DOUBLE PRECISION NOT NULL, model_version TEXT NOT NULL, degraded TEXT,
    predicted_at TIMESTAMP NOT NULL);
INSERT INTO predictions VALUES ('a', 'f', 0.5, 'v', NULL, '2026-01-31 12:00:00');
CREATE TABLE dead_letters (id TEXT PRIMARY KEY, origin TEXT NOT NULL, reason TEXT NOT NULL,
    body TEXT NOT NULL, raw BYTES, found_at TIMESTAMP NOT NULL);
INSERT INTO dead_letters VALUES ('l', 'events 1', 'no JSON', 'x', NULL, '2026-01-31 12:00:00');
"""
EVERY = ("quarantine", "origins", "state", "runs", "predictions", "dead_letters")


@pytest.fixture
def old(database_url: str) -> str:
    """Return a database that version 0.2 made."""
    engine = sa.create_engine(database_url)
    tables = TABLES_OF_0_2.replace("BYTES", "BYTEA" if engine.name == "postgresql" else "BLOB")
    with engine.begin() as connection:
        for statement in tables.split(";\n"):
            connection.exec_driver_sql(statement)
    engine.dispose()
    return database_url


def test_a_database_of_an_earlier_version_keeps_its_rows(old: str) -> None:
    store, sink = Store(PROJECT, old), Sink(CONTRACT, old)

    assert store.refused("flights")["a.csv"][0].reason == "no number"
    assert [run["outcome"] for run in store.query(sa.select(METADATA.tables["runs"]))] == [
        "registered"
    ]
    assert sink.find(["a"])["a"].prediction == 0.5
    assert [letter.reason for letter in sink.buried("events")] == ["no JSON"]
    store.close()
    sink.close()


def test_every_table_of_the_library_is_among_them() -> None:
    assert {*METADATA.tables, "predictions", "dead_letters"} == {*EVERY}


def later(**added: sa.Column[str]) -> sa.MetaData:
    """Return the table of runs as a later version may declare it."""
    runs = METADATA.tables["runs"].to_metadata(made := sa.MetaData())
    for column in added.values():
        runs.append_column(column)
    return made


def test_columns_that_came_later_are_added(old: str) -> None:
    tables = later(
        note=sa.Column("note", sa.Text, comment="may be null"),
        team=sa.Column("team", sa.Text, nullable=False, server_default="ours"),
    )

    for _ in range(2):
        engine = open_database(old, tables, private=False)
        with engine.begin() as connection:
            found = connection.execute(sa.select(tables.tables["runs"])).mappings().one()
        assert (found["outcome"], found["note"], found["team"]) == ("registered", None, "ours")
        engine.dispose()


def test_processes_that_add_a_column_at_once_all_open_it(
    old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = later(note=sa.Column("note", sa.Text))
    missing = [database._missing(sa.create_engine(old), tables)]
    asked = database._missing
    monkeypatch.setattr(
        database, "_missing", lambda *given: missing.pop() if missing else asked(*given)
    )
    open_database(old, tables, private=False).dispose()
    missing.append([(tables.tables["runs"], tables.tables["runs"].c.note)])  # as seen too early

    open_database(old, tables, private=False).dispose()


def test_a_column_that_rows_cannot_have_is_an_error(old: str) -> None:
    tables = later(note=sa.Column("note", sa.Text, nullable=False))

    with pytest.raises(DataError, match="cannot be opened"):
        open_database(old, tables, private=False)


def test_another_process_may_make_the_tables_at_the_same_moment(
    database_url: str,
) -> None:
    tables = sa.MetaData()
    for name in ("made_at_once_1", "made_at_once_2"):
        sa.Table(name, tables, sa.Column("id", sa.Text, primary_key=True))
    create_all = tables.create_all

    @sa.event.listens_for(tables.tables["made_at_once_1"], "before_create", once=True)
    def be_quicker(*_: Any, **__: Any) -> None:
        other = sa.create_engine(database_url)
        create_all(other)
        other.dispose()

    with open_database(database_url, tables, private=False).begin() as connection:
        for table in tables.sorted_tables:
            assert connection.execute(sa.select(table)).all() == []


def test_what_keeps_the_tables_from_being_made_is_told(database_url: str) -> None:
    tables = sa.MetaData()
    sa.Table("x", tables, sa.Column("id", sa.Text, server_default=sa.text("(")))
    with pytest.raises(DataError, match="cannot be opened"):
        open_database(database_url, tables, private=False)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql+psycopg://u:hunter2@h/x", "postgresql+psycopg://u:***@h/x"),
        ("postgresql+psycopg://h/x?password=hunter2&b=1", "postgresql+psycopg://h/x?b=1"),
        ("https://u:hunter2@h/x?page_token=a", "https://u:***@h/x?page_token=a"),
        ("postgresql+psycopg//u:hunter2@h/x", "an address that cannot be read"),
        (" postgresql+psycopg://u:hunter2@h/x", "an address that cannot be read"),
        ("postgresql+psycopg://u:hunter2@h:abc/x", "an address that cannot be read"),
        ("data/of march @ home?.csv", "data/of march @ home?.csv"),
    ],
)
def test_what_may_be_a_password_is_not_shown(address: str, shown: str) -> None:
    assert hide_password(address) == shown


@pytest.mark.parametrize("address", ["postgresql+psycopg://u:hunter2@h:abc/x", "hunter2"])
def test_an_address_that_cannot_be_read_is_not_repeated(address: str) -> None:
    with pytest.raises(DataError, match="cannot be read: use sqlite:///FILE") as refused:
        open_database(address, METADATA, private=False)
    assert "hunter2" not in str(refused.value)
