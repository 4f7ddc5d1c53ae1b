"""Raw rows come late, twice, damaged and changed; what is built is as if they had come in order."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from chassis.data.test_tables import of
from chassis.flights import CONTRACT, PROJECT
from ml_chassis.data import DataError, command, pipeline
from ml_chassis.data.parse import parse
from ml_chassis.data.pipeline import Update, update
from ml_chassis.data.sources import read
from ml_chassis.data.store import FEATURES, QUARANTINE, Store
from ml_chassis.data.tables import RawTable
from model_service.raw import FLIGHTS

LABELLED = CONTRACT.labelled

RAW = Path("data/raw")
TIME = "scheduled_hour"
ROWS = 300


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(PROJECT, database_url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    """Return some flights of the whole year."""
    return pl.read_parquet(RAW / "flights.parquet").sample(ROWS, seed=1).sort("time_hour")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder into which another system puts flights."""
    folder = tmp_path / "flights"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def weather(flights: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of the weather that these flights have as features, and of no other hour."""
    path = tmp_path_factory.mktemp("weather") / "weather.parquet"
    wanted = flights.select("origin", time_hour=pl.col("time_hour").dt.offset_by("-3h"))
    observed = pl.read_parquet(RAW / "weather.parquet")
    observed.join(wanted.unique(), on=["origin", "time_hour"], how="semi").write_parquet(path)
    return path


@pytest.fixture(autouse=True)
def _little_weather(weather: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read little, as nearly all of the time would go into rows that are not asked for."""
    tables = [
        replace(each, address=str(weather)) if each.name == "weather" else each
        for each in PROJECT.tables
    ]
    monkeypatch.setitem(vars(PROJECT), "tables", tuple(tables))


def run(store: Store, folder: Path, **options: Any) -> Update:
    return update(PROJECT, store, {"flights": str(folder)}, **options)


def put(frame: pl.DataFrame, path: Path) -> None:
    """Write rows as JSON lines."""
    path.write_bytes(frame.write_ndjson().encode())


def append(path: Path, *lines: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def quarantine(store: Store, source: str) -> list[dict[str, Any]]:
    return store.query(sa.select(QUARANTINE).where(QUARANTINE.c.source == source))


def whole(tmp_path: Path, flights: pl.DataFrame) -> pl.DataFrame:
    """Return the features of flights that came all at once."""
    put(flights, tmp_path / "whole.jsonl")
    store = Store(PROJECT, "sqlite://")
    update(PROJECT, store, {"flights": str(tmp_path / "whole.jsonl")})
    features = store.features()
    store.close()
    return features


def test_a_second_run_does_nothing(store: Store, folder: Path, flights: pl.DataFrame) -> None:
    put(flights, folder / "a.jsonl")
    first = run(store, folder)
    second = run(store, folder)

    assert first.built == ROWS
    assert second == Update()


def test_late_changed_and_repeated_rows_give_what_all_at_once_gives(
    store: Store, folder: Path, tmp_path: Path, flights: pl.DataFrame
) -> None:
    shuffled = flights.sample(fraction=1, shuffle=True, seed=2)
    wrong = shuffled.head(50).with_columns(
        dep_delay=pl.lit(999, pl.Int64), distance=pl.lit(1, pl.Int64)
    )
    put(pl.concat([wrong, shuffled[100:]]), folder / "a.jsonl")
    run(store, folder)
    put(shuffled[40:100], folder / "b.jsonl")
    run(store, folder)
    put(shuffled[:60], folder / "c.jsonl")
    run(store, folder)

    assert store.features().equals(whole(tmp_path, flights))


def test_the_view_of_the_quarantine_masks_personal_values(
    database_url: str, tmp_path: Path
) -> None:
    table = RawTable("people", "", {"name": str, "age": int}, ("name",))
    lines = ['{"name": "Ann", "age": "x"}', '{"name": "Ann"', '["Ann", "x"]', '{"age": "x"}']
    append(tmp_path / "people.jsonl", *lines)

    def contents(name: str, *, personal: bool) -> list[str]:
        marked = replace(table, personal=frozenset({"name"} if personal else ()))
        store = Store(of(marked), database_url)
        for chunk in read(str(tmp_path / "people.jsonl"), {}):
            store.add(marked, chunk, parse(chunk.rows, marked, sparse=True))
        shown = sa.table(name, sa.column("content"), sa.column("position"))
        found = store.query(sa.select(shown).order_by(shown.c.position))
        store.close()
        return [row["content"] for row in found]

    assert contents("quarantine_masked", personal=False)[1:3] == lines[1:3]
    masked = contents("quarantine_masked", personal=True)
    assert [json.loads(each) for each in (masked[0], masked[3])] == [
        {"name": "***", "age": "x"}
    ] * 2
    assert masked[1:3] == ["***", "***"]
    assert contents("quarantine", personal=True)[1:3] == lines[1:3]


@pytest.mark.skipif(bool(find_spec("pyspark")), reason="Spark is installed")
def test_spark_that_is_not_installed_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_SERVICE_ENGINE", "spark")

    with pytest.raises(DataError, match="uv add --optional spark"):
        update(PROJECT, store)


def test_only_what_new_rows_concern_is_built_again(
    store: Store, folder: Path, flights: pl.DataFrame
) -> None:
    put(flights[:-20], folder / "a.jsonl")
    run(store, folder)
    put(flights[-20:], folder / "b.jsonl")
    done = run(store, folder)

    since = flights[-20:]["time_hour"].min()
    assert done.read == {(folder / "b.jsonl").as_posix(): (20, 0)}
    assert done.since == datetime.fromisoformat(str(since)).replace(tzinfo=None)
    assert done.built == flights.filter(pl.col("time_hour") >= since).height


def test_weather_that_comes_late_reaches_the_flights_after_it(
    store: Store, tmp_path: Path, flights: pl.DataFrame, weather: Path
) -> None:
    put(flights, tmp_path / "flights.jsonl")
    observed = pl.read_parquet(weather)
    late = observed["time_hour"] > observed["time_hour"].max() - timedelta(days=60)  # type: ignore[operator]
    put(observed.filter(~late), tmp_path / "weather-1.jsonl")
    sources = {"flights": str(tmp_path / "flights.jsonl"), "weather": str(tmp_path / "weather-*")}
    update(PROJECT, store, sources)
    before = store.features()
    put(observed.filter(late), tmp_path / "weather-2.jsonl")
    update(PROJECT, store, sources)

    assert before["temperature"].null_count() > store.features()["temperature"].null_count()
    assert store.features().equals(whole(tmp_path, flights))


def test_every_row_is_kept_or_refused_with_its_reason(
    store: Store, folder: Path, flights: pl.DataFrame
) -> None:
    good, *bad = flights.head(5).to_dicts()
    bad[0]["distance"] = "far"
    bad[1]["carrier"] = None
    bad[2]["dep_delay"] = 3.5
    bad[3]["distance"] = -5  # it can be read, and is impossible
    lines = [json.dumps(row, default=str) for row in [good, *bad]]
    append(folder / "a.jsonl", lines[0], "{no row", *lines[1:], "[1, 2]")

    done = run(store, folder)

    found = [(row["position"], row["reason"]) for row in quarantine(store, "flights")]
    assert sorted(found) == [
        (2, found[0][1]),
        (3, "distance: not a whole number"),
        (4, "carrier: missing"),
        (5, "dep_delay: not a whole number"),
        (7, "not a row in JSON: not an object"),
    ]
    assert "not a row in JSON" in found[0][1]
    (impossible,) = quarantine(store, FEATURES)
    assert impossible["reason"] == "distance: not above 0"
    assert done.read[(folder / "a.jsonl").as_posix()] == (2, 5)
    assert store.features().height == 1
    assert store.refused_shares()["flights"] == pytest.approx(5 / 7)


def test_repaired_rows_are_replayed(store: Store, folder: Path, flights: pl.DataFrame) -> None:
    rows = flights.head(3).with_columns(distance=pl.lit("far")).to_dicts()
    append(folder / "a.jsonl", *(json.dumps(row, default=str) for row in rows))
    run(store, folder)
    assert quarantine(store, "flights")[0]["reason"] == "distance: not a whole number"
    assert store.features().height == 0

    with store._begin() as connection:  # as a person would, with SQL
        mended = sa.func.replace(QUARANTINE.c.content, "far", "1400")
        connection.execute(sa.update(QUARANTINE).values(content=mended))
    run(store, folder, replay=True)

    assert store.features()["distance"].to_list() == [1400, 1400, 1400]
    assert quarantine(store, "flights") == []


def test_a_change_of_the_code_builds_all_rows_again(
    store: Store, folder: Path, flights: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(flights, folder / "a.jsonl")
    run(store, folder)
    monkeypatch.setattr(pipeline, "code_fingerprint", lambda _: "another")

    assert run(store, folder).built == ROWS


def test_a_crash_between_reading_and_building_loses_nothing(
    store: Store, folder: Path, tmp_path: Path, flights: pl.DataFrame, monkeypatch: Any
) -> None:
    put(flights, folder / "a.jsonl")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pipeline, "_build", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(store, folder)

    assert run(store, folder).read == {}
    assert store.features().equals(whole(tmp_path, flights))


def test_rows_that_come_while_others_are_built_are_not_forgotten(
    store: Store, folder: Path, tmp_path: Path, flights: pl.DataFrame, monkeypatch: Any
) -> None:
    put(flights[100:], folder / "a.jsonl")
    build, calls = pipeline._build, []

    def interrupted(*arguments: Any) -> Any:
        built = build(*arguments)
        calls.append(1)
        if len(calls) == 1:  # another process reads and builds what has come meanwhile
            put(flights[:100], folder / "b.jsonl")
            run(store, folder)
        return built

    monkeypatch.setattr(pipeline, "_build", interrupted)
    run(store, folder)

    assert store.features().equals(whole(tmp_path, flights))


def test_a_column_that_is_declared_later_is_read_from_the_same_files(
    database_url: str, folder: Path, flights: pl.DataFrame
) -> None:
    put(flights, folder / "a.jsonl")
    columns = {name: kind for name, kind in FLIGHTS.columns.items() if name != "distance"}
    narrow = replace(FLIGHTS, columns=columns)
    before = Store(of(narrow, *PROJECT.tables[1:]), database_url)
    (chunk,) = read(str(folder), {})
    before.add(narrow, chunk, parse(chunk.rows, narrow))
    before.close()

    store = Store(PROJECT, database_url)
    kept = store.raw(FLIGHTS)
    run(store, folder)

    assert kept.height == ROWS
    assert kept["distance"].null_count() == ROWS
    assert store.features()["distance"].null_count() == 0
    store.close()


def test_features_hold_the_columns_of_the_schema(
    store: Store, folder: Path, flights: pl.DataFrame
) -> None:
    put(flights, folder / "a.jsonl")
    run(store, folder)

    assert {column.name for column in LABELLED} < set(store.features().columns)
    assert TIME in store.features().columns


def test_the_lookback_reaches_all_raw_rows_of_a_feature(
    store: Store, folder: Path, flights: pl.DataFrame
) -> None:
    put(flights, folder / "a.jsonl")
    run(store, folder)
    last = store.features()[TIME].max()

    valid, _ = pipeline._build(
        PROJECT, store, datetime.fromisoformat(str(last)).replace(tzinfo=None)
    )

    assert PROJECT.lookback
    assert valid.drop(TIME).equals(store.features().filter(pl.col(TIME) == last).drop(TIME))


def test_the_command_takes_the_database_and_the_sources_from_settings(
    database_url: str,
    folder: Path,
    flights: pl.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put(flights, folder / "a.jsonl")
    monkeypatch.setenv("MODEL_SERVICE_DATABASE_URL", database_url)
    monkeypatch.setenv("MODEL_SERVICE_SOURCES", json.dumps({"flights": str(folder)}))

    assert command.run(PROJECT, limit=None) == 0

    assert f"{ROWS} rows with features were built" in capsys.readouterr().out
    store = Store(PROJECT, database_url)
    assert not store.features().is_empty()
    store.close()


def test_an_unknown_source_is_named(store: Store) -> None:
    with pytest.raises(DataError, match="trains"):
        update(PROJECT, store, {"trains": "x.csv"})


@pytest.mark.parametrize("url", ["mysql://host/db", "nonsense", "sqlite:////proc/none/x.db"])
def test_a_database_that_cannot_be_opened_is_told(url: str) -> None:
    with pytest.raises(DataError):
        Store(PROJECT, url)
