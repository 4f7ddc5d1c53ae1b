"""The same rows get the same predictions, whichever way they come."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from chassis.flights import CONTRACT
from chassis.rows import VALID, flat
from ml_chassis import registry
from ml_chassis.batch.score import Model, score
from ml_chassis.serving.arrow_reader import ARROW
from ml_chassis.serving.predictor import Predictor
from ml_chassis.testing import Trained

FEATURES = CONTRACT.features
PREDICTION_COLUMNS = CONTRACT.prediction_columns
WIDTH = CONTRACT.width
to_arrays = CONTRACT.to_arrays
to_row = CONTRACT.to_row

NAMES = [column.name for column in FEATURES]
ROWS = 700
# Networks multiply matrices in another order where there are more rows; in trees no bit differs.
TOLERANCE = 0  # the same trees, whichever way a row came

Answers = npt.NDArray[np.float32]
Way = Callable[[pl.DataFrame, httpx.Client, Model, Path], Answers]


@pytest.fixture(scope="module")
def rows(trained: Trained) -> pl.DataFrame:
    """Return rows as `make data` made them of raw ones, and some with all that may be missing."""
    real = trained.store.features().sample(ROWS, seed=4, with_replacement=True)
    nullable = [column.name for column in FEATURES if column.nullable]
    unknown = pl.DataFrame(VALID, {name: real.schema[name] for name in NAMES})
    missing = real.head(20).with_columns(
        pl.lit(None, real.schema[name]).alias(name) for name in nullable
    )
    return pl.concat([real, unknown, missing], how="diagonal")


@pytest.fixture(scope="module")
def model(trained: Trained) -> Model:
    graph, manifest = registry.load(trained.models)
    return Model(CONTRACT, manifest.version, Predictor(CONTRACT, graph))


def json(rows: pl.DataFrame, client: httpx.Client, *_: object) -> Answers:
    """Ask over HTTP in JSON."""
    answer = client.post("/predict", json={"rows": rows.select(NAMES).to_dicts()})
    return predicted(flat(answer.raise_for_status().json()["predictions"]))


def arrow(rows: pl.DataFrame, client: httpx.Client, *_: object) -> Answers:
    """Ask over HTTP in Arrow."""
    stream = io.BytesIO()
    rows.select(NAMES).write_ipc_stream(stream)
    headers = {"Content-Type": ARROW, "Accept": ARROW}
    answer = client.post("/predict", content=stream.getvalue(), headers=headers)
    table = pl.read_ipc_stream(answer.raise_for_status().content)
    return predicted(table.select(PREDICTION_COLUMNS).to_numpy())


def parquet(rows: pl.DataFrame, _: httpx.Client, model: Model, folder: Path) -> Answers:
    """Score a file with types."""
    rows.write_parquet(folder / "in.parquet")
    return scored(folder / "in.parquet", model)


def csv(rows: pl.DataFrame, _: httpx.Client, model: Model, folder: Path) -> Answers:
    """Score a file of text."""
    rows.write_csv(folder / "in.csv")
    return scored(folder / "in.csv", model)


def json_lines(rows: pl.DataFrame, _: httpx.Client, model: Model, folder: Path) -> Answers:
    """Score a file of JSON."""
    rows.write_ndjson(folder / "in.jsonl")
    return scored(folder / "in.jsonl", model)


def scored(source: Path, model: Model) -> Answers:
    score(model, str(source), source.with_name("out.parquet"))
    table = pl.read_parquet(source.with_name("out.parquet"))
    return predicted(table.select(PREDICTION_COLUMNS).to_numpy())


def predicted(numbers: Any) -> Answers:
    """Return the numbers of many predictions, shape (rows, *WIDTH)."""
    return np.asarray(numbers, np.float32).reshape(-1, *WIDTH)


WAYS: list[Way] = [json, arrow, parquet, csv, json_lines]
"""Each takes rows and gives predictions; a new way to ask belongs here."""


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_rows_are_answered_as_training_would(
    way: Way, rows: pl.DataFrame, client: httpx.Client, model: Model, tmp_path: Path
) -> None:
    arrays = to_arrays([to_row(row) for row in rows.iter_rows(named=True)])
    expected = model.predictor.predict(*arrays)

    found = way(rows, client, model, tmp_path)

    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    assert len(np.unique(expected)) > 1
