"""A real Envoy shares requests, asks stable what the canary fails, and copies for a shadow."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ml_chassis.current import EXPOSURE, PREDICTION_ID
from ml_chassis.delivery import envoy, routes
from ml_chassis.delivery.routes import Assignment, Sharing
from ml_chassis.observe.site import running_site
from ml_chassis.programs import LOCAL, ProgramError, free_port
from ml_chassis.serving.split import ARM
from ml_chassis.settings import CANARY, SHADOW, Settings
from waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("with_envoy")]

READY = "/readyz"
OF_A_CLIENT = {PREDICTION_ID: "123e4567-e89b-42d3-a456-426614174000"}


class Replica:
    """A service that answers with its name, or as a test wants."""

    def __init__(self, name: str) -> None:
        """Answer well."""
        self.name, self.status, self.hangs = name, 200, frozenset[str]()
        self.asked = Counter[str]()
        self.named: list[str | None] = []
        self.exposed: list[str | None] = []
        self.port = free_port()
        self.url = f"http://{LOCAL}:{self.port}"
        methods = ["GET", "POST"]
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=methods)])

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        self.asked[path] += 1
        body = await request.body()
        if path == routes.PREDICT:
            self.named.append(request.headers.get(PREDICTION_ID))
            self.exposed.append(request.headers.get(EXPOSURE))
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
    """Or the shadow: it is one replica, as there is one of both at a time."""

    def release(self, weight: int) -> None:
        """Give the canary a share of the requests, and wait until it gets some."""
        envoy.write_endpoints(self.folder, CANARY, self.canary.url, self.stable.url)
        envoy.write_routes(self.folder, self.configured, Sharing(weight=weight))
        wait_for(lambda: self.ask().text.startswith("canary"), "the canary answers")
        self.canary.asked.clear()
        self.stable.asked.clear()

    def mirror(self, share: int) -> None:
        """Send the other replica copies of a share of the requests, and wait until it gets some."""
        envoy.write_endpoints(self.folder, SHADOW, self.canary.url)
        envoy.write_routes(self.folder, self.configured, Sharing(mirrored=share))

        def is_mirrored() -> bool:
            self.ask()
            return bool(self.canary.named)

        wait_for(is_mirrored, "the shadow is asked")
        wait_for(lambda: self.received == self.sent, "all copies have come")
        for replica in (self.stable, self.canary):
            replica.asked.clear()
            replica.named.clear()

    @property
    def sent(self) -> int:
        """How many requests that were named stable has answered."""
        return sum(name is not None for name in self.stable.named)

    @property
    def received(self) -> int:
        """How many copies the shadow has got."""
        return len(self.canary.named)

    def is_healthy(self) -> bool:
        """Return whether Envoy takes the canary for healthy."""
        found = httpx.get(f"{self.admin}/clusters", trust_env=False).text
        place = f"{CANARY}::{self.canary.url.removeprefix('http://')}"
        return f"{place}::health_flags::healthy" in found

    def test(self, share: int) -> None:
        """Begin an A/B test, and wait until the other replica answers some."""
        envoy.write_endpoints(self.folder, CANARY, self.canary.url, self.stable.url)
        test = Assignment("spring", share, "user-id")
        envoy.write_routes(self.folder, self.configured, Sharing(test=test))
        chosen = {ARM: "challenger"}
        wait_for(lambda: self.ask(headers=chosen).text.startswith("canary"), "the canary answers")
        for replica in (self.stable, self.canary):
            replica.asked.clear()
            replica.exposed.clear()

    def ask(
        self,
        path: str = routes.PREDICT,
        body: bytes = b"{}",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> httpx.Response:
        """Ask Envoy."""
        url = f"http://{LOCAL}:{self.configured.port}{path}"
        return httpx.post(url, content=body, headers={**headers}, timeout=30, trust_env=False)

    def ask_as(self, user: str, **headers: str) -> httpx.Response:
        """Ask Envoy as somebody."""
        return self.ask(headers={"user-id": user, **headers})


@pytest.fixture
def edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edge]:
    """Run Envoy in front of both; the canary gets all that may go to it but one in a hundred."""
    monkeypatch.setattr(routes, "LARGE_TRY_SECONDS", 3)
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
    envoy.write_routes(edge.folder, edge.configured)
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


@pytest.mark.parametrize("size", [0, routes.SMALL_BYTES])
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
    envoy.write_endpoints(edge.folder, CANARY, edge.stable.url)
    wait_for(lambda: answers(20, edge.ask) == {"stable": 20}, "stable answers in its place")
    gone = f"http://{LOCAL}:{free_port()}"
    envoy.write_endpoints(edge.folder, CANARY, gone, edge.stable.url)
    assert answers(50, edge.ask) == {"stable": 50}


def test_a_shadow_gets_copies_under_the_same_names_and_answers_nobody(edge: Edge) -> None:
    edge.mirror(100)
    assert answers(50, lambda: edge.ask(headers=OF_A_CLIENT)) == {"stable": 50}
    wait_for(lambda: edge.received == 50, "all copies have come")
    assert sorted(map(str, edge.canary.named)) == sorted(map(str, edge.stable.named))
    assert len({*edge.stable.named}) == 50
    assert all(UUID(name).version == 4 for name in edge.stable.named if name)


def test_a_shadow_gets_copies_of_a_share_and_only_those_are_named(edge: Edge) -> None:
    edge.mirror(25)
    answers(400, lambda: edge.ask(headers=OF_A_CLIENT))
    assert 48 < edge.sent < 152  # 100 are expected; see above
    wait_for(lambda: edge.received == edge.sent, "all copies have come")


def test_a_shadow_gets_predictions_alone(edge: Edge) -> None:
    edge.mirror(100)
    url = f"http://{LOCAL}:{edge.configured.port}"
    for path in ("/feedback", "/api/orders", "/v1/models/model:predict"):
        assert edge.ask(path).text.startswith("stable")
    httpx.get(f"{url}{routes.PREDICT}", trust_env=False)
    answers(1, edge.ask)
    wait_for(lambda: edge.received == 1, "what is sent last has come")
    assert edge.canary.asked == {routes.PREDICT: 1}


def test_clients_name_no_prediction(edge: Edge) -> None:
    answers(1, lambda: edge.ask(headers=OF_A_CLIENT))
    assert edge.stable.named == [None]


@pytest.mark.parametrize("how", ["hangs", "fails", "is gone"])
def test_nobody_waits_for_a_shadow(edge: Edge, how: str) -> None:
    edge.mirror(100)
    if how == "hangs":
        edge.canary.hangs = frozenset({routes.PREDICT})
    elif how == "fails":
        edge.canary.status = 500
    else:
        edge.canary_runs.close()
    times = 3 * envoy.MOST_MIRRORED
    assert answers(times, edge.ask) == {"stable": times}
    assert edge.received <= (envoy.MOST_MIRRORED if how == "hangs" else times)


def test_users_stay_in_their_arm_and_the_service_is_told(edge: Edge) -> None:
    edge.test(50)
    users = [f"user {number}" for number in range(200)]
    found = {user for user in users if edge.ask_as(user).text.startswith("canary")}
    assert found == {user for user in users if edge.ask_as(user).text.startswith("canary")}
    assert 57 < len(found) < 143  # 100 are expected; see above
    assert {*edge.canary.exposed} == {f"spring challenger {user}" for user in found}
    assert {*edge.stable.exposed} == {f"spring champion {user}" for user in {*users} - found}

    edge.test(80)  # of more users, the same ones and others
    assert all(edge.ask_as(user).text.startswith("canary") for user in found)


def test_what_names_no_user_and_who_chooses_are_not_in_the_test(edge: Edge) -> None:
    edge.test(50)
    said = {EXPOSURE: "spring challenger me"}
    assert answers(20, lambda: edge.ask(headers=said)) == {"stable": 20}
    for arm, name in (("challenger", "canary"), ("champion", "stable")):
        found = [edge.ask_as("1", **{ARM: arm}, **said).text[:6] for _ in range(5)]
        assert found == [name] * 5
    assert {*edge.stable.exposed, *edge.canary.exposed} == {None}


def test_what_the_challenger_fails_stable_answers_and_the_user_stays_in_the_arm(edge: Edge) -> None:
    edge.test(99)
    edge.canary.status = 503
    assert answers(50, lambda: edge.ask_as("one of many")) == {"stable": 50}
    assert {*edge.stable.exposed} == {"spring challenger one of many"}


def test_what_the_champion_fails_is_not_asked_again(edge: Edge) -> None:
    edge.test(1)
    edge.stable.status = 500
    found = [edge.ask_as(f"user {number}").status_code for number in range(50)]
    assert found.count(500) == edge.stable.asked[routes.PREDICT] > 40


def test_it_does_not_start_where_somebody_listens(edge: Edge, tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir()
    with (
        pytest.raises(ProgramError, match="ended with exit code"),
        envoy.running_envoy(other, edge.configured, edge.stable.url),
    ):
        pass
