"""FastAPI and ONNX Runtime. Pydantic writes the JSON of a declared response, the fastest way."""

from fastapi import FastAPI
from model import OnnxModel, Request, Response

app = FastAPI()
model = OnnxModel()


@app.post("/predict")
async def predict(request: Request) -> Response:
    return Response(predictions=model.predict(request.rows))
