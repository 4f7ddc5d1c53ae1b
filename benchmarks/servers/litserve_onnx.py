"""LitServe and ONNX Runtime; the request is read by Pydantic, as the others do."""

import sys
from typing import Any

import litserve
from model import OnnxModel, Request, Row


class Delays(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002
        self.model = OnnxModel()

    def decode_request(self, request: dict[str, Any]) -> list[Row]:
        return Request.model_validate(request).rows

    def predict(self, rows: list[Row]) -> list[float]:
        return self.model.predict(rows)

    def encode_response(self, predictions: list[float]) -> dict[str, list[float]]:
        return {"predictions": predictions}


if __name__ == "__main__":
    server = litserve.LitServer(Delays(api_path="/predict"), accelerator="cpu")
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
