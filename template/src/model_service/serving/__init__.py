"""The service: predictor, HTTP interface and lifecycle."""

import os

# ONNX Runtime reads it when it is imported: no production service may call home.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
