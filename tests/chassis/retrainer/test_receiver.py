"""The webhook: who may ask, what is answered, and never two retrainings at once."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from ml_chassis.data import DataError
from ml_chassis.retrainer import receiver
from ml_chassis.retrainer.receiver import BODY_BYTES, Retrainer, create_app
from ml_chassis.retrainer.record import Record
from ml_chassis.retrainer.runners import End, NotAskedError
from ml_chassis.settings import Settings
from ml_chassis.training.config import RetrainingConfig

FIRING = {
    "version": "4",
    "alerts": [{"status": "firing", "labels": {"alertname": "Drift", "retrain": "yes"}}],
}
RESOLVED = {"version": "4", "alerts": [{**FIRING["alerts"][0], "status": "resolved"}]}  # type: ignore[dict-item]
KEY = "0123456789abcdef"


class Told:
    """A runner whose retraining ends as it is told."""

    where = "in this test"

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ends: asyncio.Queue[End | Exception] = asyncio.Queue()

    async def run(self, asked_by: str) -> End:
        self.begun.append(asked_by)
        end = await self.ends.get()
        if isinstance(end, Exception):
            raise end
        return end


class Asked:
    """A retrainer in this process, and a client of it."""

    def __init__(self, record: Record, settings: Settings) -> None:
        limits = RetrainingConfig(hours_between=0, maximum_per_month=100)
        self.record, self.runner = record, Told()
        self.retrainer = Retrainer(record, self.runner, limits)
        transport = httpx.ASGITransport(create_app(self.retrainer, settings, "flights"))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://retrainer")

    async def post(self, told: Any = FIRING, **headers: str) -> httpx.Response:
        given = {"Content-Type": "application/json", **headers}
        body = told if isinstance(told, bytes) else json.dumps(told).encode()
        return await self.client.post("/alerts", content=body, headers=given)

    async def outcomes(self) -> list[str]:
        return [each.outcome for each in await asyncio.to_thread(self.record.last, 9)]

    async def until(self, *outcomes: str) -> None:
        while await self.outcomes() != list(outcomes):
            await asyncio.sleep(0.01)


Scenario = Callable[[Asked], Awaitable[None]]


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    made = Record(f"sqlite:///{tmp_path}/service.db")
    with made.only_one():
        yield made


def play(record: Record, scenario: Scenario, **settings: Any) -> None:
    """Play a scenario with a retrainer of its own, and stop that."""

    @asynccontextmanager
    async def asked() -> AsyncIterator[Asked]:
        made = Asked(record, Settings(**settings))
        async with made.client:
            yield made
        await made.retrainer.stop()

    async def run() -> None:
        async with asyncio.timeout(120), asked() as made:
            await scenario(made)

    asyncio.run(run())


def test_an_alert_begins_one_retraining_and_others_wait(record: Record) -> None:
    async def scenario(asked: Asked) -> None:
        answers = await asyncio.gather(*(asked.post() for _ in range(5)))
        outcomes = sorted(each.json()["outcome"] for each in answers)
        assert outcomes == ["declined"] * 4 + ["running"]
        assert [each.status_code for each in answers] == [200] * 5
        await asked.until("declined", "running")
        assert asked.runner.begun == ["alert Drift"]

        await asked.runner.ends.put(End("promoted", "it is better"))
        await asked.until("declined", "promoted")
        assert (await asked.post()).json() == {"outcome": "running", "reason": "alert Drift"}
        await asked.runner.ends.put(NotAskedError("github.com answered 404"))
        await asked.until("not_asked", "declined", "promoted")
        await asked.post()
        await asked.runner.ends.put(RuntimeError("a defect"))
        await asked.until("failed", "not_asked", "declined", "promoted")

    play(record, scenario)
    assert [each.reason for each in record.last(2)] == ["RuntimeError", "github.com answered 404"]


def test_one_that_runs_when_the_retrainer_stops_is_noted(record: Record) -> None:
    async def scenario(asked: Asked) -> None:
        await asked.post()

    play(record, scenario)
    (found,) = record.last(9)
    assert (found.outcome, found.reason) == ("killed", "the retrainer was stopped")


def test_what_asks_for_nothing_begins_nothing(record: Record) -> None:
    async def scenario(asked: Asked) -> None:
        assert (await asked.post(RESOLVED)).json()["outcome"] == "ignored"
        assert await asked.outcomes() == []

    play(record, scenario)


@pytest.mark.parametrize(
    ("told", "kind", "status", "message"),
    [
        (FIRING, "text/plain", 415, "as application/json"),
        (FIRING, "application/x-www-form-urlencoded", 415, "as application/json"),
        (b"{", "application/json", 400, "Invalid JSON"),
        ({"version": "3", "alerts": []}, "application/json; charset=utf-8", 422, "version: "),
        ({"version": "4", "alerts": [{}] * 1_000}, "application/json", 422, "alerts.0.status: "),
        (b" " * (BODY_BYTES + 1), "application/json", 413, "1048576 bytes at most"),
    ],
)
def test_what_is_no_notification_is_refused(
    record: Record, told: Any, kind: str, status: int, message: str
) -> None:
    async def scenario(asked: Asked) -> None:
        answer = await asked.post(told, **{"Content-Type": kind})
        assert answer.status_code == status
        assert message in answer.json()["error"]
        assert len(answer.content) < 1_000
        assert await asked.outcomes() == []

    play(record, scenario)


def test_a_body_that_does_not_come_is_not_waited_for(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "BODY_SECONDS", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(600)

    async def scenario(asked: Asked) -> None:
        headers = {"Content-Type": "application/json"}
        answer = await asked.client.post("/alerts", content=slow(), headers=headers)
        assert answer.status_code == 408

    play(record, scenario)


def test_a_page_in_a_browser_cannot_ask(record: Record) -> None:
    async def scenario(asked: Asked) -> None:
        origin = {"Origin": "https://example.com", "Access-Control-Request-Method": "POST"}
        answer = await asked.client.options("/alerts", headers=origin)
        assert answer.status_code == 405
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert (await asked.client.get("/alerts")).status_code == 405

    play(record, scenario)


def test_where_keys_are_set_one_is_needed(record: Record) -> None:
    async def scenario(asked: Asked) -> None:
        for path in ("/", "/metrics"):
            assert (await asked.client.get(path)).status_code == 401
        assert (await asked.post()).status_code == 401
        assert (await asked.client.get("/livez")).status_code == 200
        assert (await asked.post(RESOLVED, Authorization=f"Bearer {KEY}")).status_code == 200

    play(record, scenario, api_keys=SecretStr(KEY))


def test_people_and_programs_are_told_what_came_of_it(record: Record) -> None:
    record.end(record.begin("alert <b>", RetrainingConfig()), "refused", "it is <worse>")

    async def scenario(asked: Asked) -> None:
        await asked.post()
        await asked.until("running", "refused")
        told = (await asked.client.get("/")).json()
        assert not told["ready"]
        assert told["why_not"].startswith("one runs since ")
        assert [each["outcome"] for each in told["retrainings"]] == ["running", "refused"]
        assert told["retrainings"][0]["ended_at"] is None
        page = (await asked.client.get("/", headers={"Accept": "text/html"})).text
        assert "<title>Retraining: no alert begins one now</title>" in page
        assert "it is &lt;worse&gt;" in page
        assert "<b>" not in page

    play(record, scenario)


def test_when_each_outcome_was_last_is_a_metric_and_nothing_of_a_service_is(record: Record) -> None:
    record.end(record.begin("alert Drift", RetrainingConfig()), "refused", "it is worse")

    async def scenario(asked: Asked) -> None:
        text = (await asked.client.get("/metrics")).text
        samples = [line for line in text.splitlines() if not line.startswith("#")]
        name = "model_service_retraining_end_timestamp_seconds"
        assert [each for each in samples if not each.startswith(name)] == []
        values = {
            line.partition('outcome="')[2].partition('"')[0]: line.split()[-1] for line in samples
        }
        assert values["promoted"] == "0.0"
        assert float(values["refused"]) > 1e9
        assert all('track="stable"' in line for line in samples)

    play(record, scenario)


def test_a_database_that_fails_is_answered_so_that_alertmanager_tries_again(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise DataError("The database failed: it is locked")

    async def scenario(asked: Asked) -> None:
        assert (await asked.client.get("/readyz")).status_code == 200
        monkeypatch.setattr(Record, "_transaction", fail)
        for path in ("/", "/metrics", "/readyz"):
            answer = await asked.client.get(path)
            assert answer.status_code == 503
            assert ("locked" in answer.text) == (path != "/readyz")
        answer = await asked.post()
        assert (answer.status_code, answer.json()["error"]) == (
            503,
            "The database failed: it is locked",
        )
        assert (await asked.client.get("/livez")).status_code == 200

    play(record, scenario)


def test_what_came_of_it_is_noted_when_the_database_is_back(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "AGAIN_SECONDS", 0.01)
    tries = 0

    def end(*arguments: Any) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise DataError("The database failed: it is locked")
        real(record, *arguments)

    real = Record.end

    async def scenario(asked: Asked) -> None:
        monkeypatch.setattr(record, "end", end)
        await asked.post()
        await asked.runner.ends.put(End("promoted", "it is better"))
        await asked.until("promoted")

    play(record, scenario)
    assert tries == 3


def test_what_nobody_runs_does_not_keep_others_from_beginning(record: Record) -> None:
    """The answer to a commit was lost, or the asking was ended in the middle."""
    record.begin("alert Drift", RetrainingConfig())

    async def scenario(asked: Asked) -> None:
        assert (await asked.post()).json()["outcome"] == "running"
        await asked.until("running", "killed")

    play(record, scenario)


def test_who_asked_may_be_gone_before_it_begins(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, begun = Record.begin, threading.Event()

    def begin(*arguments: Any) -> int:
        begun.wait()
        return real(record, *arguments)

    async def scenario(asked: Asked) -> None:
        monkeypatch.setattr(record, "begin", begin)
        gone = asyncio.create_task(asked.retrainer.ask("alert Drift"))
        await asyncio.sleep(0)
        gone.cancel()
        begun.set()
        await asked.until("running")
        while not asked.runner.begun:
            await asyncio.sleep(0.01)

    play(record, scenario)


def test_a_reason_that_no_database_can_hold_is_kept_as_far_as_it_can(record: Record) -> None:
    async def scenario(asked: Asked) -> None:
        await asked.post()
        await asked.runner.ends.put(NotAskedError("half \ud800, nothing \0" + "x" * 1_000))
        await asked.until("not_asked")

    play(record, scenario)
    (found,) = record.last(9)
    assert found.reason.startswith("half ?, nothing ?x")
    assert len(found.reason) == 500


def test_one_that_has_ended_is_not_killed_by_the_end_of_the_retrainer(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is noted in the last moment."""
    real, fails, failed = Record.end, True, threading.Event()

    def end(*arguments: Any) -> None:
        if fails:
            failed.set()
            raise DataError("The database failed: it is locked")
        real(record, *arguments)

    async def scenario(asked: Asked) -> None:
        nonlocal fails
        monkeypatch.setattr(record, "end", end)
        await asked.post()
        await asked.runner.ends.put(End("promoted", "it is better"))
        await asyncio.to_thread(failed.wait)
        fails = False

    play(record, scenario)
    (found,) = record.last(9)
    assert found.outcome == "promoted"


def test_a_database_that_fails_does_not_keep_it_from_stopping(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise DataError("The database failed: it is locked")

    async def scenario(asked: Asked) -> None:
        await asked.post()
        monkeypatch.setattr(record, "end", fail)

    play(record, scenario)
    assert [each.outcome for each in record.last(9)] == ["running"]
