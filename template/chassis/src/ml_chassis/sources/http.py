"""One bounded GET request to another service; its failures as `resilience` understands them."""

import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime

import httpx

from .. import tracing
from .resilience import SourceError

TIMEOUT = httpx.Timeout(1, connect=0.2, pool=0.2)
LIMITS = httpx.Limits(max_connections=10, max_keepalive_connections=10, keepalive_expiry=60)
MAX_BYTES = 100_000

UNREACHABLE = (httpx.NetworkError, httpx.ConnectTimeout, httpx.RemoteProtocolError)
"""No connection, or a connection that broke: another one may work."""
BUSY = {429, 503}


def open_client(base_url: str, headers: Mapping[str, str]) -> httpx.AsyncClient:
    """Return a client that keeps its connections; close it with `aclose`."""
    # A compressed answer could be much longer than what is read of it.
    headers = {"Accept-Encoding": "identity", **headers}
    return httpx.AsyncClient(base_url=base_url, headers=headers, timeout=TIMEOUT, limits=LIMITS)


async def get(client: httpx.AsyncClient, path: str) -> bytes:
    """Return the body of an answer.

    Raises:
        SourceError: there is no answer with status 200 and `MAX_BYTES` at most.
    """
    about = {"http.request.method": "GET", "server.address": client.base_url.host}
    try:
        with tracing.asking(f"GET {client.base_url.host}", about) as headers:
            async with client.stream("GET", path, headers=headers) as response:
                if response.status_code != 200:
                    raise _refused(response)
                return await _read(response)
    except UNREACHABLE:
        raise SourceError("unreachable", repeat=True) from None
    except httpx.TimeoutException:
        raise SourceError("timeout") from None
    except httpx.HTTPError:
        raise SourceError("error") from None


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BYTES:
            raise SourceError("too_long")
    return bytes(body)


def _refused(response: httpx.Response) -> SourceError:
    if response.status_code in BUSY:
        return SourceError("busy", repeat=True, wait_seconds=_retry_after(response))
    if response.status_code >= 500:
        return SourceError("failed", repeat=True)
    return SourceError("refused")


def _retry_after(response: httpx.Response) -> float:
    """Return how many seconds the service asks to wait, given as a number or as a date."""
    given = response.headers.get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(given))
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    return 0.0
