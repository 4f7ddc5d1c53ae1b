"""A project whose rows have no key and no time: trained, retrained, optimised and served."""

import json
import re
from pathlib import Path

import pytest

from project.combinations import DEFAULT
from project.conftest import Generate
from project.service import make_serve
from project.tools import make, run
from project.workflow import commit

TABLE = """
import polars as pl
flights = pl.read_parquet("data/raw/flights.parquet").sample(fraction=1, shuffle=True, seed=1)
flights.head({rows}).write_csv("data/inbox/flights.csv", separator=";", null_value="?")
"""
RAW = {
    r'address="data/raw/flights.parquet"': 'address="data/inbox"',
    r'    key=\("time_hour", "carrier", .*\n    time="time_hour",\n': (
        '    csv=Csv(delimiter=";", missing=("?",)),\n'
    ),
    "import RawTable": "import Csv, RawTable",
}
FEATURES = {
    'TIME: str . None = "scheduled_hour"': "TIME: str | None = None",
    r"KEYS = \(.*\)": "KEYS = (ORIGIN, POSITION)",
    r' +nw.col\("time_hour"\).alias\("scheduled_hour"\),\n': "            *KEYS,\n",
    r' +nw.col\("tailnum"\).alias\("tail_number"\),\n +"flight",\n': "",
    r'\.sort\("scheduled_hour".*\)': ".sort(*KEYS)",
    r"(from narwhals.stable.v2.typing import IntoFrame\n)": (
        r"\1\nfrom ml_chassis.data.tables import ORIGIN, POSITION\n"
    ),
}
TRAINING = {
    "test_from = .*": "test_share = 0.25",
    r"\[gates\.(?!parity_difference)(?:.|\n)*?(?=\n\[|\Z)": "",
}


@pytest.fixture(scope="module")
def project(generate: Generate, env: dict[str, str]) -> Path:
    """Return an installed project whose flights have neither key nor time."""
    project = generate(DEFAULT)
    edit(project / "src/model_service/raw.py", RAW)
    edit(project / "src/model_service/features.py", FEATURES)
    commit(project)
    make(project, env, "setup")
    fill(project, 2000)
    return project


def edit(path: Path, changes: dict[str, str]) -> None:
    text = path.read_text()
    for pattern, replacement in changes.items():
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    path.write_text(text)


def fill(project: Path, rows: int) -> None:
    """Write some flights, of which fewer are the first of more."""
    (project / "data/inbox").mkdir(exist_ok=True)
    done = run(project, ".venv/bin/python", "-c", TABLE.format(rows=rows))
    assert done.returncode == 0, done.stdout


def test_rows_without_key_and_time_are_trained_on_and_served(
    project: Path, env: dict[str, str]
) -> None:
    refused = run(project, "make", "data", env=env)
    assert "rows know no time, as TIME in src/model_service/features.py is None" in refused.stdout
    assert "Traceback" not in refused.stdout
    edit(project / "training.toml", TRAINING)

    said = make(project, env, "data", "train")
    assert "split the rows by their keys, seed 2013" in said
    assert "rows of the 75% for training" in said
    make(project, env, "optimise")
    with make_serve(project, env) as running:
        answer = running.service.predict([running.service.example_row()])
        assert 0 < answer.body["predictions"][0] < 1

    fill(project, 3000)
    make(project, env, "retrain")
    result = json.loads((project / "build/retraining/result.json").read_text())
    assert result["outcome"] == "promoted"
    assert result["evaluated_on"] == "of the 25% for evaluation"
    assert 600 < result["comparison"]["rows"] < 900
    assert result["new_rows"] > 900
    assert make(project, env, "retrain").count("Nothing new") == 1
