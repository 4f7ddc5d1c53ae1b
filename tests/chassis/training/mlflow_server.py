"""A stand-in for an MLflow server that answers as it is told; test_mlflow.py asks a real one."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

ANSWERS = {
    "experiments/get-by-name": {"experiment": {"experiment_id": "7"}},
    "experiments/create": {"experiment_id": "8"},
    "runs/create": {"run": {"info": {"run_id": "r1"}}},
    "runs/log-batch": {},
    "runs/update": {},
}
REFUSAL = {
    "error_code": "INVALID_PARAMETER_VALUE",
    "message": "The experiment 7 must be in the 'active' state.\nCurrent state is deleted.",
}


class Server:
    """What was asked, and with which states answers begin; then all is well."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.states: list[int] = []


@contextmanager
def mlflow_server() -> Iterator[Server]:
    """Answer on a free port until the block ends."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            path = urlsplit(self.path).path.removeprefix("/api/2.0/mlflow/")
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            server.asked.append((path, json.loads(body or b"{}")))
            state = server.states.pop(0) if server.states else 200
            self.send_response(state)
            self.end_headers()
            self.wfile.write(json.dumps(ANSWERS[path] if state == 200 else REFUSAL).encode())

        do_GET = do_POST = _answer

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        server.url = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield server
        running.shutdown()
