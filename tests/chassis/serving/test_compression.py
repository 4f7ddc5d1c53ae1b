"""A compressed body is read whole, within the limit, or refused."""

import asyncio
import gzip
import zlib
from typing import Any

import pytest

from ml_chassis.serving.endpoint import MAX_MEMBERS, read_body
from ml_chassis.serving.messages import RefusedError

LIMIT = 3_000
HALF = b"a" * (LIMIT // 2)
EMPTY = gzip.compress(b"")


def read(body: bytes, encoding: bytes = b"gzip") -> bytes:
    """Return what a handler is given of a body."""
    scope = {"headers": [(b"content-encoding", encoding)]}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    return asyncio.run(read_body(scope, receive, LIMIT))


@pytest.mark.parametrize(
    ("body", "encoding", "plain"),
    [
        (gzip.compress(HALF), b"gzip", HALF),
        (gzip.compress(HALF), b"X-Gzip", HALF),
        (zlib.compress(HALF), b"deflate", HALF),
        (gzip.compress(HALF) + gzip.compress(b"b"), b"gzip", HALF + b"b"),
        (gzip.compress(HALF) * 2, b"gzip", HALF * 2),
        (EMPTY + gzip.compress(b"b") + EMPTY, b"gzip", b"b"),
        (EMPTY * MAX_MEMBERS, b"gzip", b""),
    ],
    ids=["gzip", "x-gzip", "deflate", "members", "the limit", "empty members", "many members"],
)
def test_it_is_read_whole(body: bytes, encoding: bytes, plain: bytes) -> None:
    assert read(body, encoding) == plain


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(HALF) + b"more", b"gzip", 400),
        (gzip.compress(HALF) + b"\0" * 8, b"gzip", 400),
        (gzip.compress(HALF) + gzip.compress(HALF)[:-1], b"gzip", 400),
        (gzip.compress(HALF)[:-9], b"gzip", 400),
        (HALF, b"gzip", 400),
        (EMPTY * (MAX_MEMBERS + 1), b"gzip", 400),
        (HALF, b"br", 415),
        (gzip.compress(HALF * 2 + b"b"), b"gzip", 413),
        (gzip.compress(HALF) * 2 + gzip.compress(b"b"), b"gzip", 413),
        (gzip.compress(bytes(10**8))[:LIMIT], b"gzip", 413),
    ],
    ids=[
        *("bytes after it", "zeros after it", "half a member", "half", "not compressed"),
        *("too many members", "unknown", "too long", "members too long", "a bomb"),
    ],
)
def test_it_is_refused(body: bytes, encoding: bytes, status: int) -> None:
    with pytest.raises(RefusedError) as refused:
        read(body, encoding)
    assert refused.value.status == status
