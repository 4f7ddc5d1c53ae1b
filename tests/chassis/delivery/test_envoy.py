"""A real Envoy shares requests, and what the canary fails is asked again of stable."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ml_chassis.delivery import envoy
from ml_chassis.observe.site import running_site
from ml_chassis.programs import LOCAL, ProgramError, free_port
from ml_chassis.settings import Settings
from waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("with_envoy")]

READY = "/readyz"


class Replica:
    """A service that answers with its name, or as a test wants."""

    def __init__(self, name: str) -> None:
        """Answer well."""
        self.name, self.status, self.hangs = name, 200, frozenset[str]()
        self.asked = Counter[str]()
        self.port = free_port()
        self.url = f"http://{LOCAL}:{self.port}"
        methods = ["GET", "POST"]
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=methods)])

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        self.asked[path] += 1
        body = await request.body()
        if path in self.hangs:
            await asyncio.sleep(3_600)
        status = 200 if path == READY else self.status
        return PlainTextResponse(f"{self.name} {len(body)}", status)


class Edge(NamedTuple):
    """Envoy, and what is behind it."""

    folder: Path
    configured: Settings
    admin: str
    stable: Replica
    canary: Replica
    canary_runs: ExitStack

    def release(self, weight: int) -> None:
        """Give the canary a share of the requests, and wait until it gets some."""
        envoy.write_endpoints(self.folder, self.stable.url, self.canary.url)
        envoy.write_routes(self.folder, weight, self.configured)
        wait_for(lambda: self.ask().text.startswith("canary"), "the canary answers")
        self.canary.asked.clear()
        self.stable.asked.clear()

    def is_healthy(self) -> bool:
        """Return whether Envoy takes the canary for healthy."""
        found = httpx.get(f"{self.admin}/clusters", trust_env=False).text
        place = f"{envoy.CANARY}::{self.canary.url.removeprefix('http://')}"
        return f"{place}::health_flags::healthy" in found

    def ask(self, path: str = "/predict", body: bytes = b"{}") -> httpx.Response:
        """Ask Envoy."""
        url = f"http://{LOCAL}:{self.configured.port}{path}"
        return httpx.post(url, content=body, timeout=30, trust_env=False)


@pytest.fixture
def edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edge]:
    """Run Envoy in front of both; the canary gets all that may go to it but one in a hundred."""
    monkeypatch.setattr(envoy, "LARGE_TRY_SECONDS", 3)
    stable, canary = Replica("stable"), Replica("canary")
    configured = Settings(host="localhost", port=free_port(), model_seconds=0.1)
    with ExitStack() as stack:
        stack.enter_context(running_site(stable.app, LOCAL, stable.port))
        canary_runs = stack.enter_context(ExitStack())
        canary_runs.enter_context(running_site(canary.app, LOCAL, canary.port))
        running = envoy.running_envoy(tmp_path, configured, stable.url)
        admin, _ = stack.enter_context(running)
        yield Edge(tmp_path, configured, admin, stable, canary, canary_runs)


def answers(times: int, ask: Callable[[], httpx.Response]) -> Counter[str]:
    """Return who has answered how often; nobody fails."""
    return Counter(ask().raise_for_status().text.partition(" ")[0] for _ in range(times))


def test_at_first_stable_answers_all(edge: Edge) -> None:
    assert answers(20, edge.ask) == {"stable": 20}


def test_the_canary_gets_its_share_of_what_is_posted(edge: Edge) -> None:
    edge.release(25)
    found = answers(400, edge.ask)
    # Of 400, 100 are expected; further than 6 standard deviations is one in a billion.
    assert 48 < found["canary"] < 152
    envoy.write_routes(edge.folder, 0, edge.configured)
    wait_for(lambda: answers(20, edge.ask) == {"stable": 20}, "the canary gets nothing")


@pytest.mark.parametrize("path", ["/metrics", READY, "/docs.json", "/v2/models/model"])
def test_what_is_asked_about_the_service_is_asked_of_stable(edge: Edge, path: str) -> None:
    edge.release(99)
    url = f"http://{LOCAL}:{edge.configured.port}{path}"
    found = answers(30, lambda: httpx.get(url, trust_env=False))
    assert found == {"stable": 30}


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_what_the_canary_fails_is_asked_again_of_stable(edge: Edge, status: int) -> None:
    edge.release(99)
    edge.canary.status = status
    assert answers(50, edge.ask) == {"stable": 50}
    assert edge.canary.asked["/predict"] > 30


def test_what_the_canary_refuses_is_refused(edge: Edge) -> None:
    edge.release(99)
    edge.canary.status = 422
    assert 422 in {edge.ask().status_code for _ in range(20)}
    assert edge.stable.asked["/predict"] < 10


def test_a_large_request_is_asked_again_whole(edge: Edge) -> None:
    edge.release(99)
    edge.canary.status = 500
    body = b"x" * edge.configured.max_body_bytes
    assert [edge.ask(body=body).text for _ in range(5)] == [f"stable {len(body)}"] * 5


def test_a_route_of_the_team_is_never_asked_twice(edge: Edge) -> None:
    edge.release(99)
    edge.canary.status = 500
    found = [edge.ask("/api/orders").status_code for _ in range(50)]
    assert edge.stable.asked["/api/orders"] + edge.canary.asked["/api/orders"] == 50
    assert found.count(500) == edge.canary.asked["/api/orders"] > 30


@pytest.mark.parametrize("path", ["/predict", "/api/orders"])
def test_what_cannot_be_sent_to_the_canary_is_sent_to_stable(edge: Edge, path: str) -> None:
    edge.release(99)
    edge.canary_runs.close()
    assert answers(20, lambda: edge.ask(path)) == {"stable": 20}


@pytest.mark.parametrize("size", [0, envoy.SMALL_BYTES])
def test_a_request_that_hangs_is_asked_again(edge: Edge, size: int) -> None:
    edge.release(99)
    edge.canary.hangs = frozenset({"/predict"})
    assert answers(2, lambda: edge.ask(body=b"x" * size)) == {"stable": 2}
    assert edge.canary.asked["/predict"]


def test_a_canary_that_hangs_gets_nothing_any_more(edge: Edge) -> None:
    edge.release(99)
    edge.canary.hangs = frozenset({"/predict", READY})
    wait_for(lambda: not edge.is_healthy(), "Envoy sees it")
    before = edge.canary.asked["/predict"]
    assert answers(20, edge.ask) == {"stable": 20}
    assert edge.canary.asked["/predict"] == before


def test_where_there_is_no_canary_stable_answers(edge: Edge) -> None:
    edge.release(99)
    envoy.write_endpoints(edge.folder, edge.stable.url, "")
    wait_for(lambda: answers(20, edge.ask) == {"stable": 20}, "stable answers in its place")
    gone = f"http://{LOCAL}:{free_port()}"
    envoy.write_endpoints(edge.folder, edge.stable.url, gone)
    assert answers(50, edge.ask) == {"stable": 50}


def test_it_does_not_start_where_somebody_listens(edge: Edge, tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir()
    with (
        pytest.raises(ProgramError, match="ended with exit code"),
        envoy.running_envoy(other, edge.configured, edge.stable.url),
    ):
        pass
