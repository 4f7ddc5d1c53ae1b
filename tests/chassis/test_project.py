"""What a team's own modules say wrongly is named, with the line where there is one."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from chassis.command import chassis
from chassis.flights import PROJECT
from ml_chassis import project
from ml_chassis.data import DataError
from ml_chassis.data.store import Store
from ml_chassis.project import PARTS, ProjectError

RAW = """
from ml_chassis.data.tables import RawTable
FLIGHTS = RawTable("flights", "data/inbox", {"id": int, "size": float}, key=("id",))
TABLES = (FLIGHTS,)
"""
FEATURES = """
TIME, KEYS = None, ("id",)
def build(tables):
    return tables["flights"]
"""
SCHEMA = """
from pydantic import BaseModel, Field
class Features(BaseModel):
    size: float = Field(gt=0, lt=9)
class LabelledFeatures(Features):
    sold: bool
"""
PACKAGES = (f"package_{number}" for number in itertools.count())
Write = Callable[..., project.Project]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return write(raw, features), which makes a project of these modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "src")

    def run(raw: str = RAW, features: str = FEATURES) -> project.Project:
        name = next(PACKAGES)  # a module is imported once
        package = tmp_path / "src" / name
        package.mkdir(parents=True)
        (package / "raw.py").write_text(raw)
        (package / "features.py").write_text(features)
        (package / "schema.py").write_text(SCHEMA)
        parts: dict[project.Part, str] = {
            "schema": f"{name}.schema",
            "tables": f"{name}.raw",
            "features": f"{name}.features",
        }
        return project.Project("named", parts)

    return run


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (RAW.replace('("id",)', '"id"'), r"raw.py:3: .*give key as a tuple, \(\"id\",\)"),
        (RAW.replace("int", "list"), r"raw.py:3: .*declare id as one of str, int, float, bool"),
        (RAW.replace('key=("id",)', 'key=("ix",)'), "raw.py:3: .*declare the columns ix"),
        (RAW.replace("(FLIGHTS,)", "5"), "raw.py: TABLES must be a tuple of RawTable"),
        (RAW.replace("(FLIGHTS,)", "FLIGHTS"), "raw.py: TABLES must be a tuple of RawTable"),
        (RAW.replace("(FLIGHTS,)", "(FLIGHTS"), r"raw.py:4: SyntaxError"),
        (RAW.replace("(FLIGHTS,)", "(FLIGHT,)"), r"raw.py:4: NameError"),
    ],
)
def test_wrong_tables_are_named(write: Write, raw: str, said: str) -> None:
    with pytest.raises(ProjectError, match=said):
        _ = write(raw=raw).tables


@pytest.mark.parametrize("value", ["3", "timedelta(hours=-1)"])
def test_a_wrong_lookback_is_named(write: Write, value: str) -> None:
    raw = f"from datetime import timedelta\n{RAW}\nLOOKBACK = {value}\n"
    with pytest.raises(ProjectError, match=r"raw.py: LOOKBACK must be a timedelta of 0 or more"):
        _ = write(raw=raw).lookback


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (
            FEATURES.replace("None,", '"nope",'),
            "features.py: TIME must be one of KEYS, id, or None",
        ),
        (FEATURES.replace('("id",)', "4"), "features.py: KEYS must be a tuple of names of columns"),
        (FEATURES.replace('("id",)', '"id"'), "features.py: KEYS must be a tuple of names"),
        (FEATURES.replace("id", "size"), "KEYS must be columns that are no features, as size is"),
    ],
)
def test_wrong_keys_are_named(write: Write, features: str, said: str) -> None:
    made = write(features=features)
    with pytest.raises(ProjectError, match=said):
        _ = made.keys, made.time


def test_a_part_that_is_no_module_is_named(tmp_path: Path) -> None:
    parts = "\n".join(f'{part} = "model_service.{part}"' for part in PARTS)
    wrong = parts.replace("model_service.schema", ".schema")
    (tmp_path / "pyproject.toml").write_text(f"[tool.chassis]\n{wrong}\n")

    with pytest.raises(ProjectError, match="schema: give a module, such as model_service.schema"):
        project.read(tmp_path)


@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-8-sig", "names no|is missing"), ("utf-16", "not written in UTF-8")]
)
def test_a_file_of_an_editor_that_adds_a_mark_is_read(
    tmp_path: Path, encoding: str, said: str
) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.chassis]\n", encoding=encoding)

    with pytest.raises(ProjectError, match=said):
        project.read(tmp_path)


def test_a_file_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MODEL_SERVICE_MODELS_DIR", str(tmp_path / "file" / "models"))

    assert chassis("train") == 1

    said = capsys.readouterr().err
    assert "file" in said
    assert "Not a directory" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "place", ["~/models", "~me/models", "$HOME/models", "s3:/bucket/models", "s3:models"]
)
def test_a_registry_that_would_be_a_folder_of_an_odd_name_is_refused(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_SERVICE_MODELS_DIR", place)

    assert chassis("models") == 1

    assert "MODEL_SERVICE_MODELS_DIR: give a whole path, or a URL" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:x?mode=memory&uri=true",
    ],
)
def test_a_database_that_nothing_keeps_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_SERVICE_DATABASE_URL", url)

    assert chassis("data") == 1

    assert (
        "MODEL_SERVICE_DATABASE_URL: name a file, as in sqlite:///data/" in capsys.readouterr().err
    )


def test_a_database_that_is_damaged_is_told_without_sql(tmp_path: Path) -> None:
    path = tmp_path / "service.db"
    path.write_bytes(b"no database" * 1_000)

    with pytest.raises(DataError, match="file is not a database") as refused:
        Store(PROJECT, f"sqlite:///{path}")
    assert "SELECT" not in str(refused.value)
    assert "PRAGMA" not in str(refused.value)
