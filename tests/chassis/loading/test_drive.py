"""How requests are sent, against servers that misbehave."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from chassis.flights import CONTRACT
from ml_chassis.errors import UserError
from ml_chassis.loading import drive
from ml_chassis.loading.drive import Caller, Outcome, open_session
from ml_chassis.slo import Traffic

RATE = 100
TRAFFIC = Traffic(requests_per_second=RATE, rows_per_request=1, large_share=0.1, large_rows=5)
GOOD = {"predictions": [0.5], "model_version": "7", "prediction_id": ["a-0"]}

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Use = Callable[[Caller], Awaitable[None]]


def against(answer: Answer, use: Use) -> Caller:
    """Let a caller meet a server that answers so."""

    async def meet() -> Caller:
        app = web.Application()
        app.router.add_post("/predict", answer)
        async with TestServer(app) as server, open_session(["a key"]) as session:
            caller = Caller(CONTRACT, session, str(server.make_url("")).rstrip("/"), TRAFFIC)
            await use(caller)
            return caller

    return asyncio.run(meet())


async def good(_: web.Request) -> web.Response:
    return web.json_response(GOOD)


async def for_a_second(caller: Caller) -> None:
    await caller.hold_rate(1)


def test_requests_are_sent_at_the_rate_and_some_are_large() -> None:
    rows: list[int] = []

    async def count(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer a key"
        rows.append(len((await request.json())["rows"]))
        return web.json_response(GOOD)

    outcomes = against(count, for_a_second).outcomes

    assert [each.failure for each in outcomes] == [""] * RATE
    due = [each.due for each in outcomes]
    assert max(due) - min(due) == pytest.approx(1 - 1 / RATE)
    assert sorted(rows) == sorted(5 if each.large else 1 for each in outcomes)
    assert 0 < rows.count(5) < RATE / 3


@pytest.mark.parametrize("connections", [drive.MAX_CONNECTIONS, 1])
def test_a_stall_is_charged_to_all_who_would_have_asked(
    monkeypatch: pytest.MonkeyPatch, connections: int
) -> None:
    """It ends once many were sent meanwhile: who waited for the answer to each would fail."""
    monkeypatch.setattr(drive, "MAX_CONNECTIONS", connections)
    begun, stall, send = 0, 0.0, Caller._send

    async def counted(caller: Caller, due: float, **options: bool) -> None:
        nonlocal begun, stall
        begun += 1
        if begun > RATE * 0.3 and not stall:
            stall = time.monotonic()
        await send(caller, due, **options)

    async def stalling(_: web.Request) -> web.Response:
        while not stall:
            await asyncio.sleep(0.01)
        return web.json_response(GOOD)

    monkeypatch.setattr(Caller, "_send", counted)
    outcomes = against(stalling, for_a_second).outcomes

    held = [each for each in outcomes if each.sent < stall]
    assert len(held) > RATE * 0.2
    assert all(each.latency >= stall - each.due for each in held)


async def refuse_more(_: web.Request) -> web.Response:
    return web.json_response({"error": "Busy"}, status=429)


async def break_down(_: web.Request) -> web.Response:
    return web.Response(status=503)


async def hang_up(request: web.Request) -> web.Response:
    assert request.transport
    request.transport.abort()
    return web.Response()


async def degrade(_: web.Request) -> web.Response:
    return web.json_response(GOOD, headers={"degraded": "slow"})


async def stay_silent(_: web.Request) -> web.Response:
    await asyncio.sleep(2)
    return web.Response()


@pytest.mark.parametrize(
    ("answer", "failure", "degraded"),
    [
        (refuse_more, "429", False),
        (break_down, "503", False),
        (hang_up, "ServerDisconnectedError", False),
        (stay_silent, "no answer in 0.5 s", False),
        (degrade, "", True),
    ],
)
def test_what_became_of_a_request(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, failure: str, degraded: bool
) -> None:
    if answer is stay_silent:
        monkeypatch.setattr(drive, "GIVE_UP_SECONDS", 0.5)

    def seen(outcomes: list[Outcome]) -> set[tuple[str, bool]]:
        return {(each.failure, each.degraded) for each in outcomes}

    assert seen(against(answer, lambda caller: caller.hold_rate(0.1)).outcomes) == {
        (failure, degraded)
    }


def test_at_full_speed_each_caller_waits_for_its_answer() -> None:
    waiting, most = 0, 0

    async def count(_: web.Request) -> web.Response:
        nonlocal waiting, most
        waiting, most = waiting + 1, max(most, waiting + 1)
        await asyncio.sleep(0.01)
        waiting -= 1
        return web.json_response(GOOD)

    outcomes = against(count, lambda caller: caller.run_at_full_speed(0.5, 4)).outcomes

    assert most == 4
    assert len(outcomes) > 2 * 4  # each sends again and again
    assert all(each.full_speed and not each.large for each in outcomes)


def test_the_warm_up_sends_every_payload_and_notes_nothing() -> None:
    sent: set[bytes] = set()

    async def collect(request: web.Request) -> web.Response:
        sent.add(await request.read())
        return web.json_response(GOOD)

    caller = against(collect, lambda caller: caller.warm_up())

    assert len(sent) == drive.SMALL_BODIES + drive.LARGE_BODIES
    assert caller.outcomes == []
    assert caller.version == "7"


async def refuse(_: web.Request) -> web.Response:
    return web.json_response({"error": "The request is not valid."}, status=422)


async def greet(_: web.Request) -> web.Response:
    return web.Response(text="hello")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refuse, "refuses a valid request: 422 .*not valid"),
        (greet, "something else than predictions: hello"),
        (hang_up, "No service at"),
    ],
)
def test_what_is_no_service_of_this_schema_is_not_loaded(answer: Answer, said: str) -> None:
    with pytest.raises(UserError, match=said):
        against(answer, lambda caller: caller.warm_up())
