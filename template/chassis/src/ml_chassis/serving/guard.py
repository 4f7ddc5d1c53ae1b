"""Who may ask, and what no browser or proxy may do with an answer."""

import hmac
import logging
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..monitoring import metrics
from ..settings import Settings
from .endpoint import Answer, send_answer
from .messages import Header, Refusal

LOGGER = logging.getLogger("model_service")

OPEN = {"/livez", "/readyz", "/healthz", "/health", "/ping", "/v2/health/live", "/v2/health/ready"}
"""Probes have no key."""
HIDDEN = ("/schema.json", "/static_content")
"""BentoML's own pages for development."""
FOREIGN = {307, 404}
"""How Starlette answers where it knows no route."""
OWN = "/api/"
"""Routes of a team's own may mean something by the slash at their end."""
HEADERS: list[Header] = [  # unless the route says otherwise
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
]
REFUSED = Refusal(error="Give a valid key: the header Authorization: Bearer KEY.")
NOT_FOUND = Refusal(error="There is nothing here; see /docs.json.")


class Guard:
    """Lets requests with a key through, to all but BentoML's own pages."""

    def __init__(self, app: ASGIApp, keys: Sequence[bytes]) -> None:
        """Take the accepted keys; without any, everybody may ask."""
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        replaced = False

        async def send_guarded(message: Message) -> None:
            nonlocal replaced
            if replaced:
                return
            if message["type"] == "http.response.start":
                if message["status"] in FOREIGN and _is_of_no_route(scope, message):
                    replaced = True
                    # Not by this function: one that refers to itself is garbage of each request.
                    await _refuse(send, 404, NOT_FOUND, *HEADERS)
                    return
                headers = message["headers"]
                given = {name for name, _ in headers}
                missing = [header for header in HEADERS if header[0] not in given]
                message["headers"] = [*headers, *missing]
            await send(message)

        path = scope["path"]
        if path.endswith("/") and not path.startswith(OWN) and (plain := path.rstrip("/")):
            scope = {**scope, "path": plain, "raw_path": plain.encode()}
        if scope["path"].startswith(HIDDEN):
            await _refuse(send_guarded, 404, NOT_FOUND)
        elif self._keys and scope["path"] not in OPEN and not self._has_key(scope):
            metrics.UNAUTHORISED.inc()
            await _refuse(send_guarded, 401, REFUSED, (b"www-authenticate", b"Bearer"))
        else:
            await self._app(scope, receive, send_guarded)

    def _has_key(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = given.partition(b" ")
        # Every key is compared, in constant time: the duration tells nothing.
        matches = [hmac.compare_digest(key.strip(), accepted) for accepted in self._keys]
        return scheme.lower() == b"bearer" and any(matches)


def _is_of_no_route(scope: Scope, start: Message) -> bool:
    """Return whether an answer is Starlette's own to a path that it does not know.

    It redirects where a slash at the end makes the difference, to an address that behind a proxy is
    not that of the service.
    """
    headers: dict[bytes, bytes] = dict(start["headers"])
    if start["status"] == 307:
        target = urlsplit(headers.get(b"location", b"")).path.decode("latin-1")
        path: str = quote(scope["path"])
        return target.rstrip("/") == path.rstrip("/")
    return headers.get(b"content-type", b"").startswith(b"text/plain")


def accepted_keys(settings: Settings) -> list[bytes]:
    """Return the keys that are accepted, and say loudly when there are none."""
    keys = [key.encode() for key in settings.keys]
    if not keys:
        LOGGER.warning(
            "NO AUTHENTICATION: everybody who reaches this service may use it. "
            "Set MODEL_SERVICE_API_KEYS, or let a gateway check."
        )
    return keys


async def _refuse(send: Send, status: int, refusal: Refusal, *headers: Header) -> None:
    await send_answer(Answer(refusal.model_dump_json().encode(), status, headers), send)
