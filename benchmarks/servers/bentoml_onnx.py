"""BentoML as in its quickstart, with ONNX Runtime."""

import bentoml
from model import OnnxModel, Row


@bentoml.service
class Delays:
    def __init__(self) -> None:
        self.model = OnnxModel()

    @bentoml.api
    def predict(self, rows: list[Row]) -> dict:
        return {"predictions": self.model.predict(rows)}
