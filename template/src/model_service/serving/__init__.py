"""The service: predictor, HTTP interface and lifecycle."""

import os

# Neither library may call home from a production service; each reads its variable on import.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
