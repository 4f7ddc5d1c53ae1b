"""Send the example row to a running service, with the first key that is set: `make predict`."""

import json
import sys
from http.client import HTTPException
from ipaddress import ip_address
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from .. import settings
from ..project import Project


def run(project: Project, url: str) -> int:
    """Print the request and the answer; return the exit code."""
    if not _is_address(url):
        print(f"Give the address of the service, such as http://localhost:3000, not {url}.")
        return 2
    headers = {"Content-Type": "application/json"}
    try:
        keys = settings.read().keys
    except settings.SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    if keys:
        headers["Authorization"] = f"Bearer {keys[0]}"
    body = json.dumps({"rows": [project.contract.example_row()]})
    print(f"POST {url}/predict\n{body}\n")
    request = Request(f"{url}/predict", body.encode(), headers)  # noqa: S310 - it was checked
    # What runs on this machine, the machine's proxy does not reach.
    opener = build_opener(*([ProxyHandler({})] if _is_here(url) else []))
    try:
        with opener.open(request, timeout=10) as response:
            print(response.read().decode())
            degraded = response.headers["degraded"]
    except HTTPError as error:
        print(f"{error.code}: {error.read().decode()}", file=sys.stderr)
        if error.code == 401:
            print(f"It is read from {settings.PREFIX}API_KEYS here, too.", file=sys.stderr)
        if error.code == 422:
            print("The service has another schema: start it again.", file=sys.stderr)
        return 1
    except (URLError, HTTPException) as error:
        print(f"No service at {url}: {error}. Start it: make serve", file=sys.stderr)
        return 1
    if degraded:
        print(f"The fallback answered, not the model: {degraded}", file=sys.stderr)
        return 1
    return 0


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and " " not in url
