"""A served project holds when clients do their worst: bad bodies, floods, long runs."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from nightly import NIGHTLY
from project.service import Running, make_serve

CLIENTS = 32
MALFORMED = 100_000 if NIGHTLY else 10_000
REQUESTS = 1_000_000 if NIGHTLY else 30_000
WARM_UP = 30_000
"""Until all is loaded and cached, also what keeps predictions for their labels."""
ALLOWED_GROWTH_MIB = 8
ODD_VALUES: list[Any] = [
    *(None, True, False, "", "x" * 10_000, "\x00", "\ud83d\ude00", -1, 0, 1.5, 10**30, -(10**400)),
    *(
        1e308,
        5e-324,
        [],
        {},
        [[[]]],
        {"a": {"b": {}}},
        "NaN",
        "2026-01-01",
        "'; drop table rows; --",
    ),
]
ODD_TEXTS = [b"NaN", b"Infinity", b"-Infinity", b"1e999", b'"\\ud800"', b"\xff", b"{", b"[" * 5_000]


@pytest.fixture
def project(trained_project: Path) -> Path:
    """Return a default project with a trained model."""
    return trained_project


@pytest.fixture
def running(project: Path, env: dict[str, str]) -> Iterator[Running]:
    """Serve it."""
    with make_serve(project, env) as served:
        yield served


def test_malformed_bodies_are_refused_and_never_fail(running: Running) -> None:
    row = running.service.example_row()
    bodies = list(islice(malformed(row, random.Random(3)), MALFORMED))

    statuses = asyncio.run(post_all(running.service.address, bodies))

    assert statuses.total() == MALFORMED
    assert set(statuses) <= {200, 400, 413, 422}
    assert statuses[422] > MALFORMED / 4  # most of them get as far as the rows
    assert statuses[400] > MALFORMED / 10
    assert running.service.predict([row]).status == 200


def test_memory_does_not_grow_over_many_requests(running: Running) -> None:
    row = running.service.example_row()
    bad = list(islice(malformed(row, random.Random(4)), 100))
    good = [json.dumps({"rows": [row] * count}).encode() for count in (1, 1, 1, 10, 100)]
    bodies = [*good * 20, *bad]

    asyncio.run(post_all(running.service.address, list(islice(cycle(bodies), WARM_UP))))
    before = resident_mib(running)
    statuses = asyncio.run(post_all(running.service.address, list(islice(cycle(bodies), REQUESTS))))

    assert statuses.total() == REQUESTS
    assert statuses[200] >= REQUESTS / 2
    assert resident_mib(running) - before < ALLOWED_GROWTH_MIB


def test_a_flood_is_shed_with_429_and_the_rest_is_answered(
    project: Path, env: dict[str, str]
) -> None:
    with make_serve(project, {**env, "MODEL_SERVICE_MAX_WAITING": "2"}) as running:
        body = json.dumps({"rows": [running.service.example_row()]}).encode()

        statuses = asyncio.run(post_all(running.service.address, [body] * 4_000, clients=128))

        assert statuses.keys() == {200, 429}
        assert statuses.total() == 4_000
        assert running.service.predict([running.service.example_row()]).status == 200


def malformed(row: dict[str, Any], chance: random.Random) -> Iterator[bytes]:
    """Yield requests with odd values, missing and unknown fields, and damaged bytes, for ever."""
    good = json.dumps({"rows": [row]}).encode()
    while True:
        field = chance.choice(list(row))
        position = chance.randrange(len(good))
        yield json.dumps({"rows": [{**row, field: chance.choice(ODD_VALUES)}]}).encode()
        yield json.dumps({"rows": [{name: row[name] for name in row if name != field}]}).encode()
        yield json.dumps({"rows": [row, {**row, chance.choice(["", "x", "rows"]): 1}]}).encode()
        yield json.dumps({"rows": chance.choice(ODD_VALUES)}).encode()
        yield json.dumps(chance.choice(ODD_VALUES)).encode()
        yield good[:position]
        yield good[:position] + bytes([chance.randrange(256)]) + good[position + 1 :]
        yield good.replace(json.dumps(row[field]).encode(), chance.choice(ODD_TEXTS), 1)
        yield chance.randbytes(chance.randrange(200))


async def post_all(address: str, bodies: Sequence[bytes], clients: int = CLIENTS) -> Counter[int]:
    """Send every body over some connections that are kept, and count the answers by status."""
    waiting = iter(bodies)
    statuses: Counter[int] = Counter()

    async def client() -> None:
        async with connected(address) as (reader, writer):
            for body in waiting:
                head = f"POST /predict HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(body)}"
                writer.write(head.encode() + b"\r\n\r\n" + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                fields = answer.decode().lower().split("\r\n")
                length = next(line for line in fields if line.startswith("content-length:"))
                await reader.readexactly(int(length.partition(":")[2]))
                status = int(answer.split()[1])
                statuses[status] += 1
                assert status != 429 or "retry-after: 1" in fields

    await asyncio.gather(*(client() for _ in range(clients)))
    return statuses


@asynccontextmanager
async def connected(
    address: str,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection and close it."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


def resident_mib(running: Running) -> float:
    """Return the memory of all processes of the service that is theirs, not that of files."""
    sizes = (
        int(line.split()[1])
        for pid in running.processes()
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("RssAnon:")
    )
    return sum(sizes) / 1024
