"""Write what all servers are given: the model in its two forms, payloads and expected answers.

Runs in the environment and the folder of the generated project: python fit.py FOLDER
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import polars as pl
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits

from ml_chassis import project, registry, settings
from ml_chassis.data.store import open_store
from ml_chassis.serving.predictor import Predictor
from ml_chassis.training.config import read
from ml_chassis.training.estimator import Dataset
from ml_chassis.training.split import Split

PROJECT = project.read()
NUMERIC, CATEGORICAL = PROJECT.contract.numeric, PROJECT.contract.categorical
ROWS = 1000
SIZES = (1, 100, 1000)  # rows in one request
TOLERANCE = 1e-4


def main() -> None:
    """Write everything into the folder."""
    folder = Path(sys.argv[1])
    config = read(PROJECT)
    with open_store(PROJECT, settings.read()) as store:
        frame = store.features()
    train, test = Split.of(config).divide(frame)

    graph, _ = registry.load(Path("models"))
    predictor = Predictor(PROJECT.contract, graph)
    pipeline = fit(train, config.seed, config.parameters)
    expected = predictor.predict(test.numeric, test.categorical)
    difference = np.abs(pipeline.predict_proba(to_frame(test))[:, 1] - expected).max()
    if difference > TOLERANCE:
        sys.exit(f"scikit-learn and ONNX Runtime differ by {difference}.")
    (folder / "model.onnx").write_bytes(graph)
    joblib.dump(pipeline, folder / "model.joblib")

    # scikit-learn compares 1017.8 as it is, ONNX Runtime as float32, and a few thresholds lie in
    # between: leave out those rows, so that all servers must answer the same.
    later = frame[-len(test) :].select(*NUMERIC, *CATEGORICAL)
    equal = np.abs(pipeline.predict_proba(later)[:, 1] - expected) < TOLERANCE
    chosen = np.flatnonzero(equal)[:: equal.sum() // ROWS][:ROWS]
    rows = later[chosen].to_dicts()
    (folder / "expected.json").write_text(json.dumps(expected[chosen].tolist()))
    for size in SIZES:
        parts = [rows[start : start + size] for start in range(0, ROWS, size)]
        write(folder / f"rows-{size}-JSON", [as_json({"rows": part}) for part in parts])
        write(folder / f"rows-{size}-Arrow", [arrow(part) for part in parts])
        write(folder / f"tensors-{size}-JSON", [as_json(tensors(part)) for part in parts])


def fit(train: Dataset, seed: int, parameters: dict[str, Any]) -> Pipeline:
    """Fit what the project fits, on a frame with named columns, as users of scikit-learn do."""
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer(
        [("categorical", codes, list(CATEGORICAL)), ("numeric", "passthrough", list(NUMERIC))]
    )
    trees = HistGradientBoostingClassifier(random_state=seed, **parameters)
    with threadpool_limits(1, "openmp"):
        return Pipeline([("columns", columns), ("trees", trees)]).fit(to_frame(train), train.label)


def to_frame(data: Dataset) -> pl.DataFrame:
    """Return the raw rows as a frame with the names of the features."""
    numeric = pl.DataFrame(data.numeric, schema=list(NUMERIC))
    categorical = pl.DataFrame(data.categorical.astype(str), schema=list(CATEGORICAL))
    return numeric.hstack(categorical)


def tensors(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return rows as two tensors of the Open Inference Protocol."""
    return {
        "inputs": [
            tensor("numeric", "FP32", rows, NUMERIC),
            tensor("categorical", "BYTES", rows, CATEGORICAL),
        ]
    }


def tensor(
    name: str, datatype: str, rows: list[dict[str, Any]], columns: tuple[str, ...]
) -> dict[str, Any]:
    """Return some columns of the rows, row by row."""
    values = [row[column] for row in rows for column in columns]
    return {"name": name, "datatype": datatype, "shape": [len(rows), len(columns)], "data": values}


def as_json(request: dict[str, Any]) -> bytes:
    """Return a request as most clients write it."""
    return json.dumps(request).encode()


def arrow(rows: list[dict[str, Any]]) -> bytes:
    """Return rows as the Arrow stream that a data frame writes."""
    stream = io.BytesIO()
    pl.DataFrame(rows).write_ipc_stream(stream)
    return stream.getvalue()


def write(path: Path, requests: list[bytes]) -> None:
    """Write one request per line, in hexadecimal digits, since Arrow may hold any byte."""
    path.write_text("".join(request.hex() + "\n" for request in requests))


if __name__ == "__main__":
    main()
