"""The head of an answer is sent with its body, and nothing is ever held back."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from ml_chassis.serving import worker
from ml_chassis.serving.worker import BoundedProtocol, Joined

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Wire(asyncio.Transport):
    """Notes what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ([HEAD, b"{}"], [HEAD + b"{}"]),
        ([HEAD, b"a", b"b"], [HEAD + b"a", b"b"]),
        ([HEAD, b"{}", HEAD, b"[]"], [HEAD + b"{}", HEAD + b"[]"]),
        ([HEAD, b""], [HEAD]),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"], [b"HTTP/1.1 100 Continue\r\n\r\n"]),
    ],
)
def test_a_head_waits_for_what_follows(written: list[bytes], sent: list[bytes]) -> None:
    wire = Wire()
    joined = Joined(wire)

    for data in written:
        joined.write(data)

    assert wire.sent == sent


def test_a_head_without_a_body_is_sent_at_the_end_of_the_answer() -> None:
    wire = Wire()
    joined = Joined(wire)

    joined.write(HEAD)
    joined.flush()
    joined.flush()

    assert wire.sent == [HEAD]


def test_what_waits_is_sent_before_the_connection_is_closed() -> None:
    wire = Wire()
    joined = Joined(wire)

    joined.write(HEAD)
    joined.close()

    assert wire.sent == [HEAD]
    assert joined.is_closing()


def test_few_connections_wait_for_their_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def ask(connections: int) -> list[bool]:
        config = Config(app, http=BoundedProtocol, lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        wires = []
        for _ in range(connections):
            protocol = BoundedProtocol(config, state, {})
            wires.append(wire := Wire())
            protocol.connection_made(wire)
            protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
            await asyncio.gather(*state.tasks)
        closed = [wire.closed for wire in wires]
        for each in list(state.connections):
            each.connection_lost(None)
        return closed

    monkeypatch.setattr(worker, "MAX_IDLE", 3)
    assert asyncio.run(ask(5)) == [True, True, False, False, False]
    assert not BoundedProtocol._idle
