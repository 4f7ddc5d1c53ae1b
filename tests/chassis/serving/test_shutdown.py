"""A service that is told to stop loses no request."""

import threading
from pathlib import Path

import httpx
import pytest

from chassis.flights import CONTRACT
from ml_chassis.testing import Trained, is_ready, start_service
from waiting import PATIENCE_SECONDS, wait_for

example_row = CONTRACT.example_row

pytestmark = pytest.mark.slow

BODY = {"rows": [example_row()]}


class Client(threading.Thread):
    """Sends one request after another until the service asks to go elsewhere."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.answers: list[int] = []
        self.failures: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=10) as client:
            while len(self.answers) < 100_000:
                try:
                    response = client.post("/predict", json=BODY)
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    return
                self.answers.append(response.status_code)
                if response.headers.get("connection") == "close":
                    return


def test_sigterm_under_load_loses_no_request(trained: Trained, tmp_path: Path) -> None:
    service = start_service(trained.models, tmp_path)
    clients = [Client(service.url) for _ in range(8)]
    for client in clients:
        client.start()
    wait_for(lambda: all(client.answers for client in clients))

    service.process.terminate()
    for client in clients:
        client.join(timeout=PATIENCE_SECONDS)

    assert [failure for client in clients for failure in client.failures] == []
    assert {status for client in clients for status in client.answers} == {200}
    assert service.process.wait(PATIENCE_SECONDS) == 0


def test_a_stopping_service_is_not_ready_but_answers(trained: Trained, tmp_path: Path) -> None:
    service = start_service(trained.models, tmp_path, MODEL_SERVICE_DRAIN_SECONDS="8")
    service.process.terminate()

    wait_for(lambda: not is_ready(service))
    response = httpx.post(f"{service.url}/predict", json=BODY).raise_for_status()
    assert response.headers["connection"] == "close"
    assert service.process.wait(PATIENCE_SECONDS) == 0
