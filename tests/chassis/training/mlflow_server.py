"""A stand-in for an MLflow server that answers as it is told; test_mlflow.py asks a real one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from servers import Handler, running_server

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

    class Answering(Handler):
        def _answer(self) -> None:
            path = urlsplit(self.path).path.removeprefix("/api/2.0/mlflow/")
            server.asked.append((path, json.loads(self.body() or b"{}")))
            state = server.states.pop(0) if server.states else 200
            answer = ANSWERS[path] if state == 200 else REFUSAL
            self.answer(json.dumps(answer).encode(), state)

        do_GET = do_POST = _answer

    with running_server(Answering) as url:
        server.url = url
        yield server
