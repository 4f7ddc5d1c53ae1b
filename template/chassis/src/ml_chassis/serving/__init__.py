"""The service: predictor, HTTP interface and lifecycle."""

import os

# Read by the libraries when they are imported. No production service may call home, and workers,
# not threads of numpy, use the other cores.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
