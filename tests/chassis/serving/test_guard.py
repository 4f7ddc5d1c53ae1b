"""Keys, headers, and what is not shown."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse

from chassis.conftest import BENTOML
from chassis.flights import CONTRACT
from ml_chassis.programs import free_port
from ml_chassis.serving.guard import Guard
from ml_chassis.testing import SERVE, Service, Trained, start_service

example_row = CONTRACT.example_row

pytestmark = pytest.mark.slow

BODY = {"rows": [example_row()]}
OLD, NEW = "old-key-0123456789", "new-key-0123456789"


@pytest.fixture(scope="module", params=[SERVE, BENTOML], ids=["production", "bentoml"])
def guarded(
    request: pytest.FixtureRequest, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, str]]:
    """Run a service with two keys, and with its metrics on another port."""
    port = str(free_port())
    running = start_service(
        trained.models,
        tmp_path_factory.mktemp("guarded"),
        request.param,
        MODEL_SERVICE_API_KEYS=f"{OLD}, {NEW}",
        MODEL_SERVICE_METRICS_PORT=port,
    )
    yield running, f"http://127.0.0.1:{port}"
    running.process.terminate()
    assert running.process.wait(timeout=30) == 0


@pytest.mark.parametrize("key", [OLD, NEW])
def test_each_accepted_key_opens(guarded: tuple[Service, str], key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}

    httpx.post(f"{guarded[0].url}/predict", json=BODY, headers=headers).raise_for_status()
    httpx.get(f"{guarded[0].url}/docs.json", headers=headers).raise_for_status()


@pytest.mark.parametrize(
    ("keys", "code", "said"),
    [(f"{NEW}, {OLD}", 0, "predictions"), ("", 1, "401"), ("short", 2, "16 characters")],
)
def test_the_example_is_sent_with_the_first_key(
    guarded: tuple[Service, str], keys: str, code: int, said: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ml_chassis", "predict", guarded[0].url],
        env={**os.environ, "MODEL_SERVICE_API_KEYS": keys, "http_proxy": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == code
    assert said in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {OLD}x"},
        {"Authorization": f"Bearer {OLD},"},
        {"Authorization": f"Basic {OLD}"},
        {"Authorization": OLD},
        {"Authorization": b"Bearer \xff"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/predict"), ("GET", "/"), ("GET", "/docs.json")]
)
def test_without_a_valid_key_nothing_is_answered(
    guarded: tuple[Service, str], method: str, path: str, headers: dict[str, str | bytes]
) -> None:
    answer = httpx.request(method, guarded[0].url + path, headers=httpx.Headers(headers))  # type: ignore[arg-type]

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "error" in answer.json()


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_need_no_key(guarded: tuple[Service, str], path: str) -> None:
    httpx.get(guarded[0].url + path).raise_for_status()


def test_the_document_says_what_needs_a_key(guarded: tuple[Service, str]) -> None:
    url, headers = guarded[0].url, {"Authorization": f"Bearer {NEW}"}
    for path, operations in httpx.get(f"{url}/docs.json", headers=headers).json()["paths"].items():
        for method, operation in operations.items():
            answer = httpx.request(method, url + path)
            assert (answer.status_code == 401) == ("401" in operation["responses"]), path


def test_metrics_are_on_their_own_port_only(guarded: tuple[Service, str]) -> None:
    service, metrics = guarded
    headers = {"Authorization": f"Bearer {NEW}"}

    assert httpx.get(f"{service.url}/metrics", headers=headers).status_code == 404
    counted = httpx.get(f"{metrics}/metrics").raise_for_status().text
    assert "model_service_unauthorised_requests_total" in counted
    assert NEW not in counted


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/predict"), ("GET", "/readyz"), ("GET", "/docs.json"), ("GET", "/nothing")],
)
def test_every_answer_forbids_sniffing_frames_and_caches(
    client: httpx.Client, method: str, path: str
) -> None:
    headers = client.request(method, path, json=BODY).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "frame-ancestors 'none'"
    assert headers["cache-control"] == "no-store"


def test_a_route_may_say_what_caches_may_do() -> None:
    route = PlainTextResponse("kept", headers={"Cache-Control": "max-age=60"})

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Guard(route, keys=[]))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/")

    headers = asyncio.run(ask()).headers

    assert headers["cache-control"] == "max-age=60"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/schema.json", "/static_content/index.html"])
def test_pages_for_development_are_not_shown(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_service_without_keys_says_so_when_it_starts(
    trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    service = start_service(trained.models, tmp_path)
    service.process.terminate()
    service.process.wait(timeout=30)

    assert "NO AUTHENTICATION" in capfd.readouterr().err


def test_a_connection_to_the_metrics_without_a_request_is_closed(
    guarded: tuple[Service, str],
) -> None:
    host, port = guarded[1].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: te")
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    httpx.get(f"{guarded[1]}/metrics").raise_for_status()
