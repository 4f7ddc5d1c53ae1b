"""What is written from a plan is code that does what the plan says."""

import re
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ml_chassis.adopt import source
from ml_chassis.adopt.plan import Feature, Label, Plan
from ml_chassis.contract import columns, task_of
from ml_chassis.data.tables import Csv

SCHEMA = Path("src/model_service/schema.py")


def feature(name: str, column: str, kind: Any, **other: Any) -> Feature:
    """Return a feature; what is not given is as usual."""
    usual = {
        "nullable": False,
        "minimum": None,
        "maximum": None,
        "choices": None,
        "max_length": None,
        "example": "x",
    }
    return Feature(name=name, column=column, type=kind, **{**usual, **other})


FEATURES = (
    feature("area_m2", 'Area "m²"', float, minimum=0.0, maximum=10_000.0, example=52.5),
    feature("rooms", "rooms", int, nullable=True, minimum=0.0, maximum=20.0, example=3),
    feature("state", "State", str, choices=("good", "bad"), example="good"),
    feature("owner", "owner", str, max_length=40, example="Ada", personal=True),
    feature("balcony", "balcony", bool, example=True),
)
PRICE = Label("price", "Price", float, "regression", (), 0.0, 1e6, 250.5)
LABELS = {
    "regression": PRICE,
    "binary": replace(PRICE, task="binary", type=str, classes=("no", "yes")),
    "numbers": replace(PRICE, task="binary", type=int, classes=("0", "1")),
    "multiclass": replace(PRICE, task="multiclass", type=int, classes=("1", "2", "3")),
}
PLAN = Plan(
    data=Path("My Flats 2.csv"),
    csv=Csv(delimiter=";", decimal=","),
    missing=("?",),
    rows=3,
    label=PRICE,
    features=FEATURES,
    left_out=(),
    key=("Nr",),
    time="Day",
    notes=(),
)


def run(text: str, package: str) -> dict[str, Any]:
    """Return what a module of the project has, from its text."""
    names: dict[str, Any] = {"__name__": f"{package}.adopted", "__package__": package}
    exec(compile(text, "adopted", "exec"), names)  # noqa: S102
    return names


def test_nothing_is_left_to_lint_once_formatted(tmp_path: Path) -> None:
    texts = (source.schema(PLAN, SCHEMA.read_text()), source.raw(PLAN), source.features(PLAN))
    for number, text in enumerate((*texts, source.WEB)):
        path = tmp_path / f"written_{number}.py"
        path.write_text(text)
    config = ["--config", str(Path("pyproject.toml").absolute())]
    for command in (["format"], ["check", "--ignore", "INP001,I001"]):
        tool = [sys.executable, "-m", "ruff", *command, *config, str(tmp_path)]
        done = subprocess.run(tool, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS)
def test_the_schema_declares_what_the_plan_says(label: Label) -> None:
    written = source.schema(replace(PLAN, label=label), SCHEMA.read_text())

    names = run(written, "model_service")

    found = columns(names["Features"])
    assert [each.name for each in found] == [each.name for each in FEATURES]
    assert [each.nullable for each in found] == [each.nullable for each in FEATURES]
    assert [each.personal for each in found] == [each.personal for each in FEATURES]
    assert [each.choices for each in found] == [each.choices for each in FEATURES]
    assert [each.maximum for each in found] == [each.maximum for each in FEATURES]
    assert [each.max_length for each in found] == [None, None, None, 40, None]
    names["Features"](**{each.name: each.example for each in FEATURES})
    (told,) = (each for each in columns(names["LabelledFeatures"]) if each not in found)
    assert task_of(told) == label.task
    if label.task == "multiclass":
        assert told.choices == label.classes


def test_the_raw_table_is_what_the_plan_says() -> None:
    (table,) = run(source.raw(PLAN), "model_service.data")["TABLES"]

    assert (table.name, table.address) == ("my_flats_2", "data/raw/my_flats_2.csv")
    assert (table.key, table.time, table.csv) == (("Nr",), "Day", PLAN.csv)
    assert table.personal == {"owner"}
    assert table.columns == {
        "Day": datetime,
        "Nr": str,
        **{each.column: each.type for each in FEATURES},
        "Price": float,
    }


@pytest.mark.parametrize(
    ("label", "given", "expected"),
    [
        ("regression", [1.5, None], [1.5, None]),
        ("binary", ["yes", "no", "perhaps", None], [True, False, None, None]),
        ("numbers", [1, 0, 7], [True, False, None]),
        ("multiclass", [3, None], ["3", None]),
    ],
)
def test_features_are_built_from_the_raw_table(
    label: str, given: list[Any], expected: list[Any]
) -> None:
    plan = replace(PLAN, label=LABELS[label])
    raw = pl.DataFrame(
        {
            "Day": [datetime(2024, 1, day + 1) for day in range(len(given))],
            "Nr": ["a"] * len(given),
            **{each.column: [each.example] * len(given) for each in FEATURES},
            "Price": given,
        }
    )

    names = run(source.features(plan), "model_service.data")
    built = names["build"]({"my_flats_2": raw}).collect().to_native()

    assert built["price"].to_list() == expected
    assert names["TIME"] == "Day"
    assert names["KEYS"] == ("Day", "Nr")
    assert set(built.columns) == {"Day", "Nr", *(each.name for each in FEATURES), "price"}


def test_rows_without_key_and_time_are_known_by_their_place() -> None:
    names = run(source.features(replace(PLAN, key=(), time=None)), "model_service.data")

    assert names["TIME"] is None
    assert names["KEYS"] == ("row_origin", "row_position")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("iris.csv", "iris"),
        ("2024 Kunden-Ä.csv.gz", "table_2024_kunden"),
        ("Ä.csv", "table"),
    ],
)
def test_the_table_has_a_name_that_every_database_takes(file: str, name: str) -> None:
    plan = replace(PLAN, data=Path(file))

    assert source.table_name(plan) == name
    assert re.fullmatch(r"data/raw/[a-z0-9_]+\.csv(\.gz)?", source.address(plan))
