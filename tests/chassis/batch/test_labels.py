"""Labels of a file or table are all kept for a service to join, or none is."""

import resource
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from chassis.flights import CONTRACT, PROJECT
from ml_chassis.batch import labels
from ml_chassis.feedback.store import Store
from ml_chassis.monitoring.quality import Kept


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    found = f"sqlite:///{tmp_path}/feedback.db"
    monkeypatch.setenv("MODEL_SERVICE_FEEDBACK_URL", found)
    return found


def joined(url: str, *names: str) -> dict[str, object]:
    """Return the labels that a service joins to its predictions."""
    store = Store(CONTRACT, url)
    found = store.keep(Kept(name, "v1", "stable", 0.5, 0.2, "any", None, {}) for name in names)
    found += store.join(datetime.min).joined
    store.close()
    return {each.kept.id: each.label for each in found}


def write(frame: pl.DataFrame, path: Path) -> None:
    """Write a file by the end of its name."""
    if path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_ndjson(path)


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet", "labels.jsonl"])
def test_labels_of_a_file_are_joined(
    name: str, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pl.DataFrame({"prediction_id": ["a", "b", "a"], "label": [True, False, True], "x": 1})
    path = tmp_path / name
    write(frame, path)

    assert labels.run(PROJECT, str(path)) == 0
    assert labels.run(PROJECT, str(path)) == 0

    assert f"2 labels of {path} are kept" in capsys.readouterr().out
    assert joined(url, "a", "b", "c") == {"a": True, "b": False}


def test_labels_whose_prediction_is_not_known_are_told(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "labels.csv"
    joined(url, "0123456789abcdef-0")
    path.write_text("prediction_id,label\n0123456789abcdef-0,true\n")
    assert labels.run(PROJECT, str(path)) == 0
    said = capsys.readouterr().out
    assert "Of 1 the prediction is known" in said
    assert "not known" not in said

    path.write_text("prediction_id,label\n0123456789abcdef,true\nfedcba9876543210-0,true\n")
    assert labels.run(PROJECT, str(path)) == 0
    said = capsys.readouterr().out
    assert "prediction is known" not in said
    assert "Of 2 the prediction is not known, or not yet." in said
    assert "Of 1 the id has no number of a row at its end: the first row" in said
    assert "the first row of the answer 0123456789abcdef is 0123456789abcdef-0." in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prediction_id,label\na,true\nb,perhaps\n", "row 2: label: "),
        ("prediction_id,label\na,true\na,false\n", "row 2: this prediction_id has another label"),
        ("prediction_id,label\na,\n", "row 1: label: "),
        ("prediction_id,label\na b,true\n", "row 1: prediction_id: String should match"),
        ("prediction_id,label\n", "there is no row"),
        ("id,late\na,true\n", "there is no column prediction_id and no column label"),
        ("prediction_id,label\na,true,1\n", "row 1: "),
        ("prediction_id,label\n" + "a b,true\n" * 12, "and 2 more"),
    ],
)
def test_of_a_file_with_a_wrong_row_none_is_taken(
    text: str, said: str, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)

    assert labels.run(PROJECT, str(path)) == 1

    error = capsys.readouterr().err
    assert error.startswith("No label was taken. ")
    assert said in error
    assert joined(url, "a") == {}


def test_what_is_not_said_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert labels.run(PROJECT, "") == 1
    assert "make feedback INPUT=labels.csv" in capsys.readouterr().err
    assert labels.run(PROJECT, "labels.csv") == 1
    assert "Set MODEL_SERVICE_FEEDBACK_URL" in capsys.readouterr().err
    monkeypatch.setenv("MODEL_SERVICE_FEEDBACK_URL", "sqlite:///x.db")
    assert labels.run(PROJECT, "nowhere.csv") == 1
    assert "there is no such file" in capsys.readouterr().err


@pytest.mark.usefixtures("url")
def test_lines_that_are_all_broken_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"prediction_id": \n[]\n')

    assert labels.run(PROJECT, str(path)) == 1

    error = capsys.readouterr().err
    assert "row 1: " in error
    assert "row 2: " in error
    assert "there is no column" not in error


def test_of_labels_for_which_there_is_no_room_it_is_told_how_many_are_kept(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(labels, "AT_ONCE", 500)
    path = tmp_path / "labels.csv"
    names = [f"prediction-{number}" for number in range(5_000)]
    write(pl.DataFrame({"prediction_id": names, "label": True}), path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    joined(url)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        assert labels.run(PROJECT, str(path)) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    error = capsys.readouterr().err
    kept = int(
        error.partition(" of 5,000 labels are kept; then the database failed: ")[0].replace(",", "")
    )
    assert 0 < kept < 5_000
    assert len(joined(url, *names)) == kept
    assert labels.run(PROJECT, str(path)) == 0


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql+psycopg//u:hunter2@h/x", "MODEL_SERVICE_FEEDBACK_URL: give the address of"),
        (" postgresql+psycopg://u:hunter2@h/x", "MODEL_SERVICE_FEEDBACK_URL: give the address of"),
        ("'sqlite:///hunter2.db'", "MODEL_SERVICE_FEEDBACK_URL: give the address of"),
        ("postgresql+psycopg://u:hunter2@h:abc/x", "MODEL_SERVICE_FEEDBACK_URL: give the address"),
        ("mysql://u:hunter2@h/x", "MODEL_SERVICE_FEEDBACK_URL: give the address of a database"),
        ("sqlite:///{folder}/x.db?timeout=abc", "x.db?timeout=abc: cannot be opened"),
    ],
)
def test_an_address_that_no_database_has_is_told_without_its_password(
    address: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODEL_SERVICE_FEEDBACK_URL", address.format(folder=tmp_path))
    (tmp_path / "labels.csv").write_text("prediction_id,label\na,true\n")

    assert labels.run(PROJECT, str(tmp_path / "labels.csv")) == 1

    error = capsys.readouterr().err
    assert said in error
    assert "hunter2" not in error
