"""The pages of a service that answers over HTTP, each of which may point to the next."""

from collections.abc import Iterator

import httpx
import stamina

from . import DataError
from .database import hide_password

SECONDS = 30
MAX_BYTES = 200_000_000
BUSY = {408, 425, 429, 500, 502, 503, 504}


class _BusyError(Exception):
    """The service may answer if it is asked again."""


def fetch(address: str) -> Iterator[tuple[str, bytes]]:
    """Yield the address of each page, without a password, and its body.

    Raises:
        DataError: a page cannot be had, also when it is asked for again, or is too large.
    """
    page: str | None = address
    visited = set[str]()
    with httpx.Client(timeout=SECONDS, follow_redirects=True) as client:
        while page and page not in visited:
            visited.add(page)
            shown = hide_password(page)
            try:
                body, page = _get(client, page)
            except (httpx.HTTPError, _BusyError) as error:
                raise DataError(f"{shown}: cannot be read: {error!r}") from None
            yield shown, body


@stamina.retry(on=(_BusyError, httpx.TransportError), attempts=4, timeout=60)
def _get(client: httpx.Client, page: str) -> tuple[bytes, str | None]:
    """Return the body of a page, and the address of the next one."""
    with client.stream("GET", page) as answer:
        if answer.status_code in BUSY:
            raise _BusyError(f"status {answer.status_code}")
        answer.raise_for_status()
        body = bytearray()
        for part in answer.iter_bytes():
            body += part
            if len(body) > MAX_BYTES:
                raise DataError(f"{hide_password(page)}: more than {MAX_BYTES} bytes.")
        following = answer.links.get("next", {}).get("url")
        return bytes(body), str(answer.url.join(following)) if following else None
