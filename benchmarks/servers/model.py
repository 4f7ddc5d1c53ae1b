"""What the competitors share: the model in its two forms, and the request as Pydantic reads it."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from pydantic import BaseModel

FOLDER = Path(os.environ["BENCHMARK_MODEL"])


class Row(BaseModel):
    """One flight; the types only, as a tutorial declares them."""

    departure_hour: int
    weekday: int
    distance: float
    seats: int | None = None
    plane_age: int | None = None
    temperature: float | None = None
    dew_point: float | None = None
    humidity: float | None = None
    wind_speed: float | None = None
    wind_gust: float | None = None
    precipitation: float | None = None
    pressure: float | None = None
    visibility: float | None = None
    carrier: str
    origin: str
    destination: str


class Request(BaseModel):
    """The body of a request."""

    rows: list[Row]


class Response(BaseModel):
    """The body of an answer."""

    predictions: list[float]


class OnnxModel:
    """The champion of the generated project, on one thread."""

    def __init__(self) -> None:
        """Load the graph, which names its columns."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(
            FOLDER / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        names = self.session.get_modelmeta().custom_metadata_map
        self.numeric = names["numeric"].split(",")
        self.categorical = names["categorical"].split(",")

    def predict(self, rows: Sequence[Row]) -> list[float]:
        """Return the probability of each row."""
        numeric = [[getattr(row, name) for name in self.numeric] for row in rows]
        categorical = [[getattr(row, name) for name in self.categorical] for row in rows]
        return self.run(np.array(numeric, np.float32), np.array(categorical, object))

    def run(self, numeric: np.ndarray, categorical: np.ndarray) -> list[float]:
        """Return the probability of each row of two arrays."""
        inputs = {"numeric": numeric, "categorical": categorical}
        return self.session.run(["probability"], inputs)[0].tolist()
