"""Clients that are slow, endless, broken or malicious cost others nothing."""

import json
import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from chassis.flights import CONTRACT
from ml_chassis.serving.endpoint import BODY_SECONDS
from ml_chassis.serving.worker import HEADER_SECONDS, MAX_HEADER_BYTES
from ml_chassis.settings import Settings
from ml_chassis.testing import Service, Trained, start_service
from waiting import wait_for

example_row = CONTRACT.example_row

pytestmark = pytest.mark.slow

BODY = json.dumps({"rows": [example_row()]}).encode()
HEAD = b"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
SLOW = 20


def connect(service: Service) -> socket.socket:
    host, port = service.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def answer_to(service: Service, raw: bytes) -> bytes:
    """Send bytes, and return what comes until the service hangs up or one second passes."""
    received = b""
    with connect(service) as connection:
        connection.sendall(raw)
        connection.settimeout(1)
        try:
            while chunk := connection.recv(65_536):
                received += chunk
        except (TimeoutError, ConnectionResetError):
            pass
    return received


@pytest.fixture(scope="module")
def production(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one worker, so that a client that holds it holds everybody."""
    running = start_service(trained.models, tmp_path_factory.mktemp("hostile"))
    yield running
    running.process.terminate()
    assert running.process.wait(timeout=30) == 0


def test_slow_clients_are_sent_away_and_hold_nobody(production: Service) -> None:
    starts = {
        "no byte": b"",
        "half a header": HEAD,
        "no body": HEAD + b"Content-Length: 100\r\n\r\n",
        "half a body": HEAD + b"Content-Length: 100\r\n\r\n" + b" " * 50,
        "endless chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n \r\n",
        "a line break": b"\r\n",
    }
    connections = []
    for start in starts.values():
        for _ in range(SLOW):
            connection = connect(production)
            connection.sendall(start)
            connections.append(connection)
    begin = time.monotonic()

    while time.monotonic() - begin < 2:  # others are answered as ever
        start_of_request = time.monotonic()
        httpx.post(f"{production.url}/predict", content=BODY).raise_for_status()
        assert time.monotonic() - start_of_request < HEADER_SECONDS / 2

    for connection in connections:
        connection.settimeout(2 * HEADER_SECONDS + BODY_SECONDS)
        answer = connection.recv(65_536)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
        connection.close()


def established(service: Service) -> list[object]:
    """Return the connections that the workers of a service have."""
    workers = psutil.Process(service.process.pid).children()
    found = (each for worker in workers for each in worker.net_connections("tcp"))
    return [each for each in found if each.status == psutil.CONN_ESTABLISHED]


def test_a_client_that_reads_no_answer_is_sent_away(trained: Trained, tmp_path: Path) -> None:
    service = start_service(trained.models, tmp_path, log=tmp_path / "log")
    connections = [connect(service) for _ in range(3)]
    try:
        wait_for(lambda: len(established(service)) == len(connections), "all are connected")
        for connection in connections:
            connection.setblocking(False)
            # Until no more is taken; on a slow machine, the first may have been sent away by then.
            with suppress(BlockingIOError, ConnectionError):
                for _ in range(3_000):
                    connection.sendall(b"GET /docs.json HTTP/1.1\r\nHost: test\r\n\r\n")

        wait_for(lambda: not established(service), "all are sent away")
    finally:
        for connection in connections:
            connection.close()
        service.process.terminate()

    assert service.process.wait(timeout=30) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (HEAD + b"Content-Length: 1000000000000\r\n\r\n", b"HTTP/1.1 413 "),
        (HEAD + b"Content-Length: -1\r\n\r\n", b"HTTP/1.1 400 "),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 400 "),
        (HEAD + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 400 "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nXYZ\r\n", b"HTTP/1.1 400 "),
        (HEAD + b"X: " + b"x" * (2 * MAX_HEADER_BYTES), b"HTTP/1.1 400 "),
        (HEAD + b"X: x\r\n" * MAX_HEADER_BYTES, b"HTTP/1.1 400 "),
        (b"GET /" + b"x" * (2 * MAX_HEADER_BYTES), b"HTTP/1.1 400 "),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HTTP/1.1 400 "),
        (b"POST /predict HTTP/9.9\r\n\r\n", b"HTTP/1.1 400 "),
        (b"\x00" * 1_000, b"HTTP/1.1 400 "),
    ],
    ids=lambda value: repr(value[60:100]) if isinstance(value, bytes) else None,
)
def test_a_broken_request_is_refused(production: Service, raw: bytes, expected: bytes) -> None:
    assert answer_to(production, raw).startswith(expected)


def test_requests_in_one_packet_are_answered_in_order(production: Service) -> None:
    bad = HEAD + b"Content-Length: 2\r\n\r\n{}"
    good = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)

    answer = answer_to(production, bad + good + bad)

    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"422", b"200", b"422"]


OFFERS = {
    "HTTP/2": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
    "WebSocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
}
BODIES = {
    "length": b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:50], BODY[50:]))
    + b"0\r\n\r\n",
}
"""How a client says where the body ends."""


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("body", BODIES)
def test_an_offer_of_another_protocol_is_declined(
    production: Service, offer: str, body: str
) -> None:
    request = HEAD + OFFERS[offer] + BODIES[body]
    after = b"GET /livez HTTP/1.1\r\nHost: test\r\n" + OFFERS[offer] + b"\r\n"
    sent = request + after + request

    at_once = answer_to(production, sent)
    assert re.findall(rb"HTTP/1.1 (\d+)", at_once) == [b"200"] * 3
    assert at_once.count(b'"predictions"') == 2
    with connect(production) as connection:
        for position in range(0, len(sent), 7):
            connection.sendall(sent[position : position + 7])
        received = b""
        while received.count(b"HTTP/1.1 200 ") < 3:
            chunk = connection.recv(65_536)
            assert chunk
            received += chunk


def test_a_body_after_an_offer_is_no_request(production: Service) -> None:
    """Else who writes the body writes requests in the name of a proxy."""
    hidden = b"GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n"
    head = HEAD + OFFERS["HTTP/2"] + b"Content-Length: %d\r\n\r\n" % len(hidden)
    with connect(production) as connection:
        connection.sendall(head)
        connection.sendall(hidden)
        connection.settimeout(1)
        received = b""
        with suppress(TimeoutError):
            while chunk := connection.recv(65_536):
                received += chunk

    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"400"]


def test_a_tunnel_is_refused(production: Service) -> None:
    for target in (b"host:443", b"/predict"):
        answer = answer_to(production, b"CONNECT " + target + b" HTTP/1.1\r\nHost: test\r\n\r\n")
        assert re.match(rb"HTTP/1.1 40[045] ", answer)


def test_a_connection_is_kept_for_longer_than_balancers_do(production: Service) -> None:
    with connect(production) as connection:
        for seconds in (0, HEADER_SECONDS + 1):
            time.sleep(seconds)  # it is the time that is tested
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
    assert Settings().keep_alive_seconds > 60


def test_a_client_that_waits_for_leave_to_send_gets_it(production: Service) -> None:
    with connect(production) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_head_is_answered_without_a_body(production: Service) -> None:
    for _ in range(2):
        assert httpx.head(f"{production.url}/readyz", timeout=2).content == b""


def test_a_client_that_goes_away_in_the_middle_is_forgotten(production: Service) -> None:
    for _ in range(200):
        with connect(production) as connection:
            connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
    httpx.post(f"{production.url}/predict", content=BODY).raise_for_status()


def test_memory_does_not_grow(production: Service) -> None:
    children = Path(f"/proc/{production.process.pid}/task/{production.process.pid}/children")
    worker = int(children.read_text().split()[0])

    def resident_bytes() -> int:
        pages = int(Path(f"/proc/{worker}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    bodies = [BODY, b"{", b"[" * 10_000, b'{"rows": [{}]}', b" " * 100_000]

    def send(count: int) -> None:
        with httpx.Client(base_url=production.url) as client:
            for number in range(count):
                client.post("/predict", content=bodies[number % len(bodies)])

    send(1_000)
    before = resident_bytes()
    send(4_000)

    assert resident_bytes() - before < 4 * 2**20
