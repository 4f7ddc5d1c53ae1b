"""BentoML and scikit-learn as in its quickstart."""

import bentoml
import joblib
import pandas as pd
from model import FOLDER, Row


@bentoml.service
class Delays:
    def __init__(self) -> None:
        self.model = joblib.load(FOLDER / "model.joblib")

    @bentoml.api
    def predict(self, rows: list[Row]) -> dict:
        frame = pd.DataFrame([row.model_dump() for row in rows])
        return {"predictions": self.model.predict_proba(frame)[:, 1].tolist()}
