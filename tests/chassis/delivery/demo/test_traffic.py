"""Requests are sent when they are due, and each is counted by what became of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ml_chassis.delivery.demo import traffic
from ml_chassis.delivery.demo.traffic import MOST_FAILURES, Traffic
from ml_chassis.observe.demo.copied import Row
from ml_chassis.observe.site import running_site
from ml_chassis.programs import LOCAL, free_port
from waiting import wait_for

ROWS = [Row({"number": number}, None) for number in range(7)]
RATE = 500
Answer = Callable[[int], Awaitable[Response]]


class Service:
    """One that stands in for the service; its answers follow from the number of the row."""

    def __init__(self, answer: Answer) -> None:
        self.url = f"http://{LOCAL}:{free_port()}"
        self.asked = list[Any]()
        self.times = list[float]()
        self.most = self._now = 0
        self._answer = answer

    async def predict(self, request: Request) -> Response:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            self.times.append(time.monotonic())
            self.asked.append(await request.json())
            return await self._answer(self.asked[-1]["rows"][0]["number"])
        finally:
            self._now -= 1


@contextmanager
def service(answer: Answer) -> Iterator[Service]:
    """Run one."""
    standing = Service(answer)
    app = Starlette(routes=[Route("/predict", standing.predict, methods=["POST"])])
    with running_site(app, LOCAL, int(standing.url.rpartition(":")[2])):
        yield standing


def good(version: str = "v1", **headers: str) -> Response:
    return JSONResponse({"predictions": [0.5], "model_version": version}, headers=headers)


async def at_once(_: int) -> Response:
    return good()


class Broken(Response):
    """One of which half comes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        headers = [(b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})


async def every_kind(number: int) -> Response:
    return [
        good("v1"),
        good("v2"),
        good("v2", degraded="slow"),
        JSONResponse({"error": "no such field"}, 422),
        PlainTextResponse("upstream connect error", 503),
        Broken(),
        PlainTextResponse("<html>"),
    ][number]


def test_each_request_is_counted_once_by_what_became_of_it() -> None:
    with service(every_kind) as standing, Traffic(standing.url, ROWS, RATE) as sent:
        wait_for(lambda: sum(sent.counts) > 5 * len(ROWS), "enough have ended")

    total = len(standing.asked)
    shares = [sum(1 for at in range(total) if at % len(ROWS) == kind) for kind in range(len(ROWS))]
    assert sent.counts == (shares[0] + shares[1], shares[2], shares[3], sum(shares[4:]))
    assert sent.versions == {"v1": shares[0], "v2": shares[1] + shares[2]}


def test_rows_are_asked_in_turn_one_in_a_request() -> None:
    with service(at_once) as standing, Traffic(standing.url, ROWS, RATE) as sent:
        wait_for(lambda: sent.counts.answered > len(ROWS), "all rows are asked")

    # Those that are under way at once may come in another order.
    numbers = [each["rows"][0]["number"] for each in standing.asked]
    assert all(
        each["rows"] == [{"number": number}]
        for each, number in zip(standing.asked, numbers, strict=True)
    )
    expected = [at % len(ROWS) for at in range(len(numbers))]
    assert sorted(numbers) == sorted(expected)


def test_the_first_failures_are_kept_as_they_were() -> None:
    with service(every_kind) as standing, Traffic(standing.url, ROWS[4:], RATE) as sent:
        wait_for(lambda: sent.counts.failed > 2 * MOST_FAILURES, "many have failed")

    assert len(sent.failures) == MOST_FAILURES
    assert {each.partition("(")[0] for each in sent.failures} == {
        "503 upstream connect error",
        "ClientPayloadError",
        "200 <html>",
    }


def test_a_service_that_is_away_is_asked_until_the_end() -> None:
    with Traffic(f"http://{LOCAL}:{free_port()}", ROWS, RATE) as sent:
        wait_for(lambda: sent.counts.failed > 2, "three have failed")

    assert sent.counts == (0, 0, 0, sent.counts.failed)
    assert "ClientConnectorError" in sent.failures[0]
    assert sent.seconds == 0


def test_without_an_answer_a_request_fails_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "PATIENCE_SECONDS", 0.5)

    async def never(_: int) -> Response:
        await asyncio.sleep(60)
        return good()

    with service(never) as standing, Traffic(standing.url, ROWS, RATE) as sent:
        wait_for(lambda: sent.counts.failed > 0, "one has failed")

    assert "Timeout" in sent.failures[0]
    assert sum(sent.counts) == sent.counts.failed


def test_requests_are_sent_whether_or_not_others_are_answered() -> None:
    all_there = 0

    async def together(_: int) -> Response:
        nonlocal all_there
        all_there += 1
        while all_there < 50:
            await asyncio.sleep(0.01)
        return good()

    with service(together) as standing, Traffic(standing.url, ROWS, RATE) as sent:
        wait_for(lambda: sent.counts.answered > 0, "the first is answered")

    assert standing.most >= 50
    assert sent.counts.failed == 0
    assert sent.seconds >= 49 / RATE


def test_there_is_a_bound_to_those_that_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "MAX_CONNECTIONS", 5)

    async def slowly(_: int) -> Response:
        await asyncio.sleep(0.05)
        return good()

    with service(slowly) as standing, Traffic(standing.url, ROWS, RATE) as sent:
        wait_for(lambda: sent.counts.answered > 20, "some are answered")

    assert standing.most == 5


def test_none_is_sent_before_it_is_due() -> None:
    rate, begin = 50, time.monotonic()
    with service(at_once) as standing, Traffic(standing.url, ROWS, rate) as sent:
        wait_for(lambda: sent.counts.answered > 10, "some are answered")

    assert all(at - begin >= number / rate for number, at in enumerate(sorted(standing.times)))


def test_the_end_waits_for_all_that_are_under_way() -> None:
    async def slowly(_: int) -> Response:
        await asyncio.sleep(0.3)
        return good()

    with service(slowly) as standing:
        with Traffic(standing.url, ROWS, RATE) as sent:
            wait_for(lambda: len(standing.asked) > 5, "some are under way")
        assert sent.counts == (len(standing.asked), 0, 0, 0)


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{LOCAL}:{free_port()}")

    with service(at_once) as standing, Traffic(standing.url, ROWS, RATE) as sent:
        wait_for(lambda: sent.counts.answered > 0, "one is answered")

    assert sent.counts.failed == 0
