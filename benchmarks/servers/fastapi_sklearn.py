"""FastAPI and scikit-learn as most tutorials put them together."""

import joblib
import pandas as pd
from fastapi import FastAPI
from model import FOLDER, Request, Response

app = FastAPI()
model = joblib.load(FOLDER / "model.joblib")


@app.post("/predict")
def predict(request: Request) -> Response:
    frame = pd.DataFrame([row.model_dump() for row in request.rows])
    return Response(predictions=model.predict_proba(frame)[:, 1].tolist())
