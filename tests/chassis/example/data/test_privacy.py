"""Values of columns that are marked as personal are nowhere but where docs/data.md says."""

import contextlib
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from chassis.copies import chassis, copied, edit
from chassis.flights import CONTRACT
from ml_chassis.personal import MASK
from ml_chassis.testing import Service, start_service
from waiting import wait_for

example_row = CONTRACT.example_row

PLANTED = "QXJ"
"""Part of the name of each plane, and a destination of many flights."""
SOURCES = json.dumps({"flights": "data/raw/flights*"})
QUALITY_GATES = re.compile(r"^\[gates\.(?!refused_share).*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
MARKS = {
    "schema.py": [
        ("from pydantic import", "from ml_chassis.personal import PERSONAL\nfrom pydantic import"),
        ('examples=["IAH"]),', 'examples=["IAH"]), PERSONAL,'),
        ("examples=[149]),", "examples=[149]), PERSONAL,"),
    ],
    "features.py": [("PERSONAL_KEYS: tuple[str, ...] = ()", 'PERSONAL_KEYS = ("tail_number",)')],
    "raw.py": [
        (
            'key=("time_hour", "carrier", "flight", "origin"),',
            'key=("time_hour", "carrier", "flight", "origin"), '
            'personal=frozenset({"tailnum", "dest"}),',
        )
    ],
}

pytestmark = pytest.mark.slow  # a project of its own, trained and served: marks are in its code


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of this project in which columns are marked, and whose data holds a value."""
    root = tmp_path_factory.mktemp("private")
    package = copied(root)
    # Whether a model of these changed rows is good is not asked here.
    configured = (root / "training.toml").read_text()
    (root / "training.toml").write_text(QUALITY_GATES.sub("", configured))
    for name, changes in MARKS.items():
        edit(package / name, {re.escape(before): after for before, after in changes})
    plane = (PLANTED + pl.col("tailnum")).alias("tailnum")
    for name in ("planes", "flights"):
        path = root / "data" / "raw" / f"{name}.parquet"
        rows = pl.read_parquet(path).with_columns(plane)
        if name == "flights":
            rows = rows.with_columns(pl.col("dest").replace("ATL", PLANTED))
            plant_bad_rows(rows, path.with_name("flights2.csv"))
        rows.write_parquet(path)
    return root


def plant_bad_rows(rows: pl.DataFrame, path: Path) -> None:
    """Write a row with text for a number, one with a value too many, and an impossible one."""
    planted = rows.filter(pl.col("dest") == PLANTED, pl.col("dep_delay").is_not_null()).head(3)
    head, first, second, third = planted.write_csv().splitlines()
    at = planted.columns.index("distance")
    unread, impossible = (
        ",".join([*line.split(",")[:at], value, *line.split(",")[at + 1 :]])
        for line, value in ((first, "far"), (third, "-1"))
    )
    path.write_text("\n".join([head, unread, f"{second},1", impossible]) + "\n")


@pytest.fixture(scope="module")
def places(project: Path) -> dict[str, str]:
    """Do everything with it; return what is to be seen in each place."""
    lines = [row(), row(wind_speed=-1), f'{{"destination": "{PLANTED}"']
    (project / "in.jsonl").write_text("\n".join([*[row()] * 40, *lines]) + "\n")
    told = chassis(
        project, "data", "train", "score in.jsonl out.csv", MODEL_SERVICE_SOURCES=SOURCES
    )
    refusal, metrics, log = serve(project)
    database = sqlite3.connect(project / "data" / "service.db")
    view, table = (
        "\n".join(map(str, database.execute(f"SELECT * FROM {name}")))  # noqa: S608
        for name in ("quarantine_masked", "quarantine")
    )
    database.close()
    files = {
        "data report": "build/data/report.html",
        "training report": "build/training/report.html",
        "model card": "docs/model-card.md",
        "manifest": "models/*/manifest.json",
        "refused rows": "out.refused.jsonl",
        "scored rows": "out.csv",
        "monitor": "build/monitor/flights/data/data.1.log",
    }
    found = {
        name: "".join(path.read_text() for path in project.glob(pattern))
        for name, pattern in files.items()
    }
    found |= {"view": view, "table": table, "metrics": metrics, "refusal": refusal, "log": log}
    return {**found, "messages": told}


def row(**changes: Any) -> str:
    return json.dumps({**example_row(), "destination": PLANTED, **changes})


def serve(project: Path) -> tuple[str, str, str]:
    """Return a refusal of the service, its metrics and its log."""
    log = project / "log"
    with contextlib.chdir(project):
        given = {
            "PYTHONPATH": str(project / "src"),
            "MODEL_SERVICE_MONITOR": "flights",
        }
        service = start_service(project / "models", project / "bento", log=log, **given)
        good, bad = (f'{{"rows": [{each}]}}' for each in (row(), row(destination=f"{PLANTED}x")))
        httpx.post(f"{service.url}/predict", content=good).raise_for_status()
        refusal = httpx.post(f"{service.url}/predict", content=bad)
        metrics = wait_for_metrics(service)
        service.process.terminate()
        service.process.wait(timeout=30)
    return refusal.text, metrics, log.read_text()


def wait_for_metrics(service: Service) -> str:
    """Return the metrics once the row has been counted, which is done every second."""
    counted = re.compile(r'bin="other",feature="destination",.* 1.0')

    def text() -> str:
        return httpx.get(f"{service.url}/metrics").text

    wait_for(lambda: bool(counted.search(text())), "the row is counted")
    return text()


@pytest.mark.parametrize(
    ("place", "there"),
    [
        ("messages", "2 refused"),
        ("data report", "destination"),
        ("training report", "destination"),
        ("model card", "origin JFK"),
        ("manifest", '"destination"'),
        ("metrics", 'feature="destination"'),
        ("refusal", "destination"),
        ("log", "serving"),
        ("monitor", '"prediction_id"'),
        ("view", "distance: not a whole number"),
        ("view", "distance: not above 0"),
        ("refused rows", "wind_speed"),
    ],
)
def test_no_value_is_shown(places: dict[str, str], place: str, there: str) -> None:
    assert there in places[place]
    assert PLANTED not in places[place]


@pytest.mark.parametrize("place", ["table", "scored rows"])
def test_rows_are_kept_as_they_came(places: dict[str, str], place: str) -> None:
    assert PLANTED in places[place]


def test_numbers_are_not_described_either(places: dict[str, str]) -> None:
    assert places["data report"].count(f"{MASK} personal") == 2
    assert json.loads(places["manifest"])["reference"]["numeric"]["seats"]["edges"] == []


def test_groups_by_a_personal_feature_are_refused(project: Path) -> None:
    groups = {
        'group_by = "carrier"': 'group_by = "destination"',
        r'slices = \["carrier"': 'slices = ["destination"',
        r'fairness = \["origin"': 'fairness = ["destination"',
    }
    edit(project / "training.toml", groups)

    with pytest.raises(AssertionError, match="destination is personal") as refused:
        chassis(project, "data")

    for field in ("fallback.group_by", "evaluation.slices.0", "evaluation.fairness.0"):
        assert field in str(refused.value)
