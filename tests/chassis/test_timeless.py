"""A project whose rows have no key and no time: trained, retrained and optimised."""

import json
from pathlib import Path

import polars as pl
import pytest

from chassis.copies import chassis, copied, edit, run

pytestmark = pytest.mark.slow

RAW = {
    r'address="data/raw/flights.parquet"': 'address="data/inbox"',
    r'    key=\("time_hour", "carrier", .*\n    time="time_hour",\n': (
        '    csv=Csv(delimiter=";"),\n    missing=("?",),\n'
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
    "max_iter = 100": "max_iter = 10",  # how good it is does not matter
    r"\[evaluation\]\n(?:.|\n)*?(?=\n\[)": "",
    r"\[gates\.(?!parity_difference)(?:.|\n)*?(?=\n\[|\Z)": "",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project whose flights have neither key nor time."""
    package = copied(tmp_path)
    edit(package / "raw.py", RAW)
    edit(package / "features.py", FEATURES)
    fill(tmp_path, 2000)
    return tmp_path


def fill(project: Path, rows: int) -> None:
    """Write some flights, of which fewer are the first of more."""
    flights = pl.read_parquet("data/raw/flights.parquet").sample(fraction=1, shuffle=True, seed=1)
    (project / "data/inbox").mkdir(exist_ok=True)
    found = flights.head(rows)
    found.write_csv(project / "data/inbox/flights.csv", separator=";", null_value="?")


def test_rows_without_key_and_time_are_trained_on(project: Path) -> None:
    refused = run(project, "-m", "ml_chassis", "data")
    assert refused.returncode == 1
    assert "rows know no time, as TIME in src/model_service/features.py is None" in refused.stderr
    assert "Traceback" not in refused.stderr
    edit(project / "training.toml", TRAINING)

    said = chassis(project, "data", "train", "optimise")
    assert "split the rows by their keys, seed 2013" in said
    assert "rows of the 75% for training" in said

    fill(project, 3000)
    assert "Nothing new" not in chassis(project, "retrain")
    result = json.loads((project / "build/retraining/result.json").read_text())
    assert result["outcome"] == "promoted"
    assert result["evaluated_on"] == "of the 25% for evaluation"
    assert 600 < result["comparison"]["rows"] < 900
    assert result["new_rows"] > 900
    assert chassis(project, "retrain").count("Nothing new") == 1
