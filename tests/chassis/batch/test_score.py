"""Files and tables are scored whole, row by row as the service would, or left as they were."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa

from chassis.command import chassis
from chassis.flights import CONTRACT
from ml_chassis import registry
from ml_chassis.batch import ScoreError, reading
from ml_chassis.batch.score import Model, _missing, score
from ml_chassis.data import formats
from ml_chassis.data.formats import SUFFIXES
from ml_chassis.serving.predictor import Predictor
from ml_chassis.testing import Trained

FEATURES = CONTRACT.features
example_row = CONTRACT.example_row
to_arrays = CONTRACT.to_arrays
to_row = CONTRACT.to_row

ROWS = 200


@pytest.fixture(scope="module")
def model(trained: Trained) -> Model:
    graph, manifest = registry.load(trained.models)
    return Model(CONTRACT, manifest.version, Predictor(CONTRACT, graph))


@pytest.fixture(scope="module")
def rows(trained: Trained) -> pl.DataFrame:
    """Return real rows, with columns that are no features, missing values among them."""
    return trained.store.features().sample(ROWS, seed=3)


def expected(rows: pl.DataFrame, model: Model) -> list[float]:
    """Return what the model answers, asked at once."""
    arrays = to_arrays([to_row(row) for row in rows.iter_rows(named=True)])
    answers: list[float] = model.predictor.predict(*arrays).tolist()
    return answers


def put(rows: pl.DataFrame, path: Path) -> Path:
    """Write rows as the name of a file says."""
    if path.suffix == ".parquet":
        rows.write_parquet(path)
        return path
    text = rows.write_csv() if ".csv" in path.suffixes else rows.write_ndjson()
    content = text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def get(path: Path) -> pl.DataFrame:
    """Read a file as its name says."""
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    if ".csv" in path.suffixes:
        return pl.read_csv(content, infer_schema_length=None, schema_overrides=FLOAT32)
    return pl.read_ndjson(content, infer_schema_length=None, schema_overrides=FLOAT32)


FLOAT32 = {"prediction": pl.Float32}


def listed(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("end", SUFFIXES)
def test_every_kind_of_file_is_read_and_written(
    tmp_path: Path, rows: pl.DataFrame, model: Model, end: str
) -> None:
    done = score(model, str(put(rows, tmp_path / f"in{end}")), tmp_path / f"out{end}")

    found = get(tmp_path / f"out{end}")
    assert (done.scored, done.refused) == (ROWS, 0)
    assert found.columns == [*rows.columns, *model.added]
    assert found["prediction"].to_list() == expected(rows, model)
    assert found["tail_number"].to_list() == rows["tail_number"].to_list()
    assert found["flight"].dtype == pl.Int64
    assert set(found["model_version"]) == {model.version}
    assert found["prediction_id"].n_unique() == ROWS
    assert {path.name for path in tmp_path.iterdir()} == {f"in{end}", f"out{end}"}


def test_a_table_of_a_database(tmp_path: Path, rows: pl.DataFrame, model: Model) -> None:
    url = f"sqlite:///{tmp_path}/flights.db"
    plain = rows.drop("scheduled_hour")
    kinds = {pl.Int64(): sa.Integer, pl.Float64(): sa.Double, pl.Boolean(): sa.Boolean}
    columns: list[sa.Column[Any]] = [
        sa.Column(name, kinds.get(kind, sa.Text)) for name, kind in plain.schema.items()
    ]
    table = sa.Table("flights", sa.MetaData(), *columns)
    with sa.create_engine(url).begin() as connection:
        table.create(connection)
        connection.execute(sa.insert(table), plain.to_dicts())

    score(model, f"{url}?table=flights", tmp_path / "out.parquet")

    found = get(tmp_path / "out.parquet")
    assert found.drop(model.added).equals(plain)
    assert found["prediction"].to_list() == expected(rows, model)


@pytest.mark.parametrize("end", SUFFIXES)
def test_many_chunks_give_what_one_gives(
    tmp_path: Path, rows: pl.DataFrame, model: Model, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = put(rows, tmp_path / f"in{end}")
    monkeypatch.setattr(formats, "BLOCK_ROWS", 7)
    monkeypatch.setattr(formats, "BLOCK_BYTES", 2_000)

    assert len(list(reading.read(str(source), False))) > 5
    score(model, str(source), tmp_path / f"out{end}")

    found = get(tmp_path / f"out{end}")
    assert found["prediction"].to_list() == expected(rows, model)
    assert found["prediction_id"].n_unique() == ROWS


def test_bad_rows_are_listed_by_number_and_reason(tmp_path: Path, model: Model) -> None:
    text = pl.DataFrame([example_row()] * 6).write_csv().splitlines()
    text[2] = text[2].replace(",149,", ",many,")
    text[3] += ",1"
    text[4] = text[4].replace("EWR", "BOS").replace("12.7", "-1")
    (tmp_path / "in.csv").write_text("\n".join(text) + "\n")

    done = score(model, str(tmp_path / "in.csv"), tmp_path / "out.csv.gz", limit=0.5)

    assert (done.scored, done.refused) == (3, 3)
    assert get(tmp_path / "out.csv.gz").height == 3
    (second, third, fourth) = listed(tmp_path / "out.refused.jsonl")
    assert second == {"row": 2, "reason": "seats: not a whole number"}
    assert third["row"] == 3
    assert "values" in third["reason"]
    assert fourth["row"] == 4
    assert "origin: Input should be 'EWR'" in fourth["reason"]
    assert "wind_speed: Input should be greater" in fourth["reason"]


def test_a_list_of_refused_rows_of_another_run_goes(
    tmp_path: Path, rows: pl.DataFrame, model: Model
) -> None:
    (tmp_path / "out.refused.jsonl").write_text("{}")

    score(model, str(put(rows, tmp_path / "in.csv")), tmp_path / "out.csv")

    assert not (tmp_path / "out.refused.jsonl").exists()


def test_too_many_refused_rows_leave_the_file_as_it_was(
    tmp_path: Path, rows: pl.DataFrame, model: Model
) -> None:
    (tmp_path / "out.csv").write_text("old")
    bad = rows.with_columns(distance=pl.lit(-1.0))
    put(pl.concat([rows.head(9), bad.head(1)]), tmp_path / "in.parquet")

    with pytest.raises(ScoreError, match=r"10\.0% .* refused_share allows 5\.0%: .*refused"):
        score(model, str(tmp_path / "in.parquet"), tmp_path / "out.csv", limit=0.05)

    assert (tmp_path / "out.csv").read_text() == "old"
    assert [each["row"] for each in listed(tmp_path / "out.refused.jsonl")] == [10]


def test_the_last_suffix_says_what_a_file_is(
    tmp_path: Path, rows: pl.DataFrame, model: Model
) -> None:
    source = tmp_path / "in.csv.jsonl"
    source.write_text(rows.write_ndjson())

    for name in ("out[1].parquet", "out.jsonl.csv", "out.csv.jsonl"):
        score(model, str(source), tmp_path / name)
    assert pl.read_parquet(tmp_path / "out[1].parquet", glob=False).height == ROWS
    assert pl.read_csv(tmp_path / "out.jsonl.csv", infer_schema=False).height == ROWS
    assert len(listed(tmp_path / "out.csv.jsonl")) == ROWS


def test_a_link_is_followed_and_the_mode_kept(
    tmp_path: Path, rows: pl.DataFrame, model: Model
) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "real.csv", tmp_path / "out.csv"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)

    score(model, str(put(rows, tmp_path / "in.csv")), link)

    assert link.is_symlink()
    assert get(target).height == ROWS
    assert target.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in target.parent.iterdir()] == ["real.csv"]


def test_what_fails_half_way_leaves_nothing(
    tmp_path: Path, rows: pl.DataFrame, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "BLOCK_BYTES", 2_000)
    (tmp_path / "out.parquet").write_text("old")
    source = put(rows, tmp_path / "in.csv")
    source.write_bytes(source.read_bytes() + b"\xff\n")

    with pytest.raises(ScoreError, match=r"in\.csv: byte \d+, in line 202, is not utf-8"):
        score(model, str(source), tmp_path / "out.parquet")

    assert (tmp_path / "out.parquet").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv", "out.parquet"}


def test_the_same_rows_get_the_same_names(tmp_path: Path, rows: pl.DataFrame, model: Model) -> None:
    def names(rows: pl.DataFrame, model: Model) -> set[str]:
        score(model, str(put(rows, tmp_path / "in.parquet")), tmp_path / "out.parquet")
        return set(get(tmp_path / "out.parquet")["prediction_id"])

    first = names(rows, model)

    assert names(rows, model) == first
    assert not names(rows, model._replace(version="other")) & first
    assert not names(rows.with_columns(flight=pl.col("flight") + 1), model) & first


def test_text_is_read_as_what_it_stands_for(tmp_path: Path, model: Model) -> None:
    head, row = pl.DataFrame([example_row()]).write_csv().splitlines()
    other = row.replace(",149,", ",149.0,").replace(",25.3,", ",n/a,")
    quoted = row.replace("UA", '"UA"') + ',"a ""note"",\nof two lines"'
    (tmp_path / "in.csv").write_text(f"\ufeff{head},note\n{row},\n{other},x\n{quoted}\n")

    score(model, str(tmp_path / "in.csv"), tmp_path / "out.jsonl")

    found = get(tmp_path / "out.jsonl")
    assert found["seats"].to_list() == [149] * 3
    assert found["wind_gust"].to_list() == [25.3, None, 25.3]
    assert found["note"].to_list() == [None, "x", 'a "note",\nof two lines']
    assert found["prediction"][0] == found["prediction"][2]


def test_json_keeps_the_types_of_other_columns(tmp_path: Path, model: Model) -> None:
    more: list[dict[str, Any]] = [{"id": 1, "mixed": 1}, {"id": 2, "mixed": "a", "seats": "12"}]
    lines = [json.dumps({**example_row(), **each}) for each in more]
    (tmp_path / "in.jsonl").write_text(f"{lines[0]}\n\n{{\n{lines[1]}\n[]\n")

    score(model, str(tmp_path / "in.jsonl"), tmp_path / "out.jsonl")

    found = listed(tmp_path / "out.jsonl")
    assert [(row["id"], row["mixed"], row["seats"]) for row in found] == [
        (1, "1", 149),
        (2, "a", 12),
    ]
    assert [each["row"] for each in listed(tmp_path / "out.refused.jsonl")] == [3, 5]


ODD = {
    "u64": pl.Series([2**64 - 1, None], dtype=pl.UInt64),
    "i128": pl.Series([2**100, None], dtype=pl.Int128),
    "list": pl.Series([[1, 2], None]),
    "array": pl.Series([[1, 2], None], dtype=pl.Array(pl.Int64, 2)),
    "object": pl.Series([{"a": "ü", "b": [b"\xff"]}, {"a": None, "b": None}]),
    "bytes": pl.Series([b"\x00\xff", None]),
    "choice": pl.Series(["a", None], dtype=pl.Enum(["a"])),
    "decimal": pl.Series([Decimal("1.50"), None]),
    "duration": pl.Series([timedelta(hours=1), None]),
    "time": pl.Series([datetime(2026, 1, 31, tzinfo=UTC), None]),
    "nothing": pl.Series([None, None]),
}


def test_columns_that_are_no_features_come_back(tmp_path: Path, model: Model) -> None:
    odd = pl.DataFrame([example_row()] * 2).with_columns(**ODD)
    odd.write_parquet(tmp_path / "in.parquet")
    for end in (".parquet", ".csv", ".jsonl"):
        score(model, str(tmp_path / "in.parquet"), tmp_path / f"out{end}")

    assert get(tmp_path / "out.parquet").select(*ODD).equals(odd.select(*ODD))
    (first, second) = listed(tmp_path / "out.jsonl")
    assert [first[name] for name in ("u64", "list", "array", "bytes")] == [
        *(2**64 - 1, [1, 2], [1, 2], "00ff")
    ]
    assert json.loads(first["object"]) == {"a": "ü", "b": ["ff"]}
    assert {second[name] for name in ODD if name != "object"} == {None}
    text = pl.read_csv(tmp_path / "out.csv", infer_schema=False).select(*ODD).row(0, named=True)
    assert (text["list"], text["bytes"], text["duration"]) == ("[1, 2]", "00ff", "PT1H")


@pytest.mark.parametrize("name", ["seats", "carrier", "wind_gust"])
@pytest.mark.parametrize("kind", ["i128", "object", "array", "bytes", "duration", "time"])
def test_a_feature_of_an_odd_type_is_refused(
    tmp_path: Path, model: Model, name: str, kind: str
) -> None:
    odd = pl.DataFrame([example_row()] * 2).with_columns(ODD[kind].alias(name))
    odd.write_parquet(tmp_path / "in.parquet")

    with pytest.raises(ScoreError, match=rf"INPUT: {name}:|rows are refused"):
        score(model, str(tmp_path / "in.parquet"), tmp_path / "out.csv", limit=0)


@pytest.mark.parametrize("numbers", [[2**64 - 1, 1], [2**64, 1], [-1, 2**64 - 1], [2**53 + 1, 1.5]])
def test_large_whole_numbers_of_json_come_back(
    tmp_path: Path, model: Model, numbers: list[float]
) -> None:
    lines = (json.dumps({**example_row(), "more": number}) for number in numbers)
    (tmp_path / "in.jsonl").write_text("\n".join(lines))

    score(model, str(tmp_path / "in.jsonl"), tmp_path / "out.jsonl")

    assert [json.loads(str(row["more"])) for row in listed(tmp_path / "out.jsonl")] == numbers


def test_a_word_for_a_missing_value_is_a_value_where_it_is_a_choice(
    tmp_path: Path, model: Model
) -> None:
    carrier = next(each for each in FEATURES if each.name == "carrier")
    assert "na" in _missing(carrier)
    assert "na" not in _missing(replace(carrier, choices=("NA", "UA")))
    (tmp_path / "in.jsonl").write_text(json.dumps({**example_row(), "wind_gust": "NA"}))

    with pytest.raises(ScoreError, match="100"):
        score(model, str(tmp_path / "in.jsonl"), tmp_path / "out.csv")

    assert "wind_gust: not a number" in listed(tmp_path / "out.refused.jsonl")[0]["reason"]


def test_columns_that_may_be_missing_may_be_left_out(tmp_path: Path, model: Model) -> None:
    nullable = [column.name for column in FEATURES if column.nullable]
    put(pl.DataFrame([example_row()]).drop(nullable), tmp_path / "in.parquet")

    score(model, str(tmp_path / "in.parquet"), tmp_path / "out.csv")

    assert np.isfinite(get(tmp_path / "out.csv")["prediction"].to_list()).all()


def damaged(path: Path, rows: pl.DataFrame) -> None:
    put(rows, path)
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("write", "name", "output", "said"),
    [
        (
            lambda path, rows: put(rows.drop("carrier"), path),
            "in.csv",
            "out.csv",
            "Columns are sch",
        ),
        (lambda path, rows: put(rows, path), "in.csv", "out.xlsx", "ends in .parquet"),
        (lambda path, _: path.write_text(""), "in.txt", "out.csv", "ends in .parquet"),
        (lambda *_: None, "in.csv", "out.csv", "no such file"),
        (lambda path, _: path.write_text(""), "in.csv", "out.csv", "no rows"),
        (lambda path, _: path.write_text(""), "in.jsonl", "out.csv", "no rows"),
        (lambda path, rows: put(rows.clear(), path), "in.parquet", "out.csv", "no rows"),
        (lambda path, rows: put(rows, path), "in.csv", "no/out.csv", "no folder"),
        (damaged, "in.parquet", "out.csv", "cannot be read"),
        (lambda path, _: path.write_text("no"), "in.csv.gz", "out.csv", "cannot be read"),
        (
            lambda path, rows: put(rows.with_columns(prediction=1), path),
            "in.csv",
            "out.csv",
            "prediction already",
        ),
        (
            lambda path, rows: put(rows.with_columns(carrier=1), path),
            "in.parquet",
            "out.csv",
            "carrier: Input should be text",
        ),
        (
            lambda path, rows: put(rows.with_columns(seats="scheduled_hour"), path),
            "in.parquet",
            "out.csv",
            "seats: Input should be of type integer",
        ),
        (
            lambda path, _: path.write_text('"carrier\nUA\n'),
            "in.csv",
            "out.csv",
            "the header is not CSV",
        ),
        (lambda path, rows: put(rows, path), "in.csv", "in.csv", "this is INPUT itself"),
        (lambda path, rows: put(rows, path), "in.refused.jsonl", "in.csv", "is INPUT itself"),
        (lambda path, _: path.write_text("a,b,a\n"), "in.csv", "out.csv", "there twice: a"),
    ],
)
def test_a_mistake_is_told_in_a_line(
    tmp_path: Path,
    rows: pl.DataFrame,
    trained: Trained,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    write: Callable[[Path, pl.DataFrame], Any],
    name: str,
    output: str,
    said: str,
) -> None:
    write(tmp_path / name, rows)
    before = set(tmp_path.iterdir())

    code, told = run(monkeypatch, capsys, trained, str(tmp_path / name), str(tmp_path / output))

    assert code == 1
    assert said in told
    assert told.count("\n") == 2
    assert set(tmp_path.iterdir()) == before


def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    trained: Trained,
    *arguments: str,
) -> tuple[int, str]:
    """Return the exit code of the command and what it says of its mistakes."""
    monkeypatch.setenv("MODEL_SERVICE_MODELS_DIR", str(trained.models))
    code = chassis("score", *arguments)
    return code, capsys.readouterr().err


def test_the_version_can_be_chosen(
    tmp_path: Path,
    rows: pl.DataFrame,
    trained: Trained,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = str(put(rows, tmp_path / "in.csv")), str(tmp_path / "out.csv")
    version = trained.manifest.version

    assert run(monkeypatch, capsys, trained, *files, "--version", version)[0] == 0
    assert set(get(tmp_path / "out.csv")["model_version"]) == {version}
    assert "'none'" in run(monkeypatch, capsys, trained, *files, "--version", "none")[1]
    assert "make score INPUT" in run(monkeypatch, capsys, trained)[1]


def test_a_password_is_not_shown(
    tmp_path: Path,
    trained: Trained,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = "postgresql+psycopg://me:secret@127.0.0.1:1/db?table=x"

    code, told = run(monkeypatch, capsys, trained, url, str(tmp_path / "out.csv"))

    assert code == 1
    assert "127.0.0.1" in told
    assert "secret" not in told
