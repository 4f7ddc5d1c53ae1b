"""What becomes of messages: predicted once, told as kept, or buried with a reason."""

import asyncio
import json
import logging
import sqlite3
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.flights import CONTRACT
from chassis.rows import BEYOND, FIRST, OTHER, ROW, VALID, answers, example_prediction
from chassis.streaming.told import Told, consume
from ml_chassis.contract import Categorical, Numeric, Predictions
from ml_chassis.fallback import Fallback
from ml_chassis.serving.scoring import Model, Scorer
from ml_chassis.streaming.consumer import Outcome
from ml_chassis.streaming.event_consumer import REUSED, EventConsumer
from ml_chassis.streaming.events import DeadLetter, Prediction, Received
from ml_chassis.streaming.sink import Sink

MAX_BYTES = 50_000
PREDICTED = CONTRACT.named([example_prediction(0.5), example_prediction(0.25)])
FALLBACK = Fallback(group_by="", value={}, otherwise=example_prediction(0.25))


class Stub:
    """A predictor that counts its calls."""

    def __init__(self, answer: float = 0.5) -> None:
        self.answer = answer
        self.rows: list[int] = []

    def predict(self, numeric: Numeric, categorical: Categorical) -> Predictions:
        assert len(categorical) == len(numeric)
        self.rows.append(len(numeric))
        return answers(len(numeric), self.answer)


@pytest.fixture
def sink(database_url: str) -> Iterator[Sink]:
    sink = Sink(CONTRACT, database_url)
    yield sink
    sink.close()


def event(name: str, **changes: Any) -> Received:
    body = json.dumps({"id": name, "row": {**ROW, **changes}}).encode()
    return Received(f"events {name}", body)


def make(
    sink: Sink, tell: Callable[[Outcome], Awaitable[Any]], sample: Any = None, **model: Any
) -> EventConsumer:
    scorer = Scorer(CONTRACT, 1.0, 1_000)
    given: dict[str, Any] = {
        "version": "v1",
        "predictor": Stub(),
        "fallback": FALLBACK,
        "inline_rows": 256,
    }
    scorer.use(Model(**(given | model)))
    return EventConsumer(CONTRACT, scorer, sink, tell, MAX_BYTES, sample)


def test_an_event_is_answered_by_its_id(sink: Sink) -> None:
    told = Told()

    consume(make(sink, told), event("a"), event("b", **{FIRST: OTHER[FIRST]}))

    assert told.content == [
        {"prediction_id": "a", "prediction": PREDICTED[0], "model_version": "v1"},
        {"prediction_id": "b", "prediction": PREDICTED[0], "model_version": "v1"},
    ]
    assert sink.find(["a", "b", "c"]).keys() == {"a", "b"}


def test_a_byte_order_mark_is_no_part_of_an_event(sink: Sink) -> None:
    told, received = Told(), event("a")

    consume(make(sink, told), received._replace(body=BOM_UTF8 + received.body))

    assert [each["prediction_id"] for each in told.content] == ["a"]


def test_messages_that_came_together_are_one_call_of_the_model(sink: Sink) -> None:
    stub, told = Stub(), Told()
    consumer = make(sink, told, predictor=stub)

    async def run() -> None:
        await asyncio.gather(*(consumer.consume([event(str(at))]) for at in range(100)))

    asyncio.run(run())

    assert stub.rows == [100]
    assert [outcome.id for outcome in told] == [str(at) for at in range(100)]


def test_what_comes_again_is_told_again_and_not_predicted_again(sink: Sink) -> None:
    told = Told()
    consume(make(sink, told), event("a"), event("a"))
    stub = Stub(0.9)
    consumer = make(sink, told, predictor=stub, version="v2")

    consume(consumer, event("a"))

    assert stub.rows == []
    assert told[0] == told[1] == told[2]
    assert consumer.counts["duplicate"] == 1


@pytest.mark.parametrize("crash", ["before it is kept", "before it is told", "while it is told"])
def test_a_crash_loses_nothing_and_predicts_nothing_twice(sink: Sink, crash: str) -> None:
    class CrashError(BaseException):
        """Nothing catches it, as nothing catches a kill."""

    kept, told = Told(), Told()

    def stop(*_: Any) -> Any:
        raise CrashError

    async def tell(outcome: Outcome) -> None:
        if crash == "while it is told":
            await kept(outcome)
        stop()

    broken = make(sink, tell)
    if crash == "before it is kept":
        broken._sink = type("Broken", (), {"find": sink.find, "keep": stop})()
    with pytest.raises(CrashError):
        consume(broken, event("a"), event("b"))
    assert len(sink.find(["a", "b"])) == (0 if crash == "before it is kept" else 2)

    again = make(sink, told, predictor=Stub(0.9), version="v2")
    consume(again, event("a"), event("b"))

    version = "v2" if crash == "before it is kept" else "v1"
    assert [each["model_version"] for each in told.content] == [version, version]
    assert all(each in told for each in kept)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"no JSON", "The body is not JSON."),
        (b'{"id": "a"', "The body is not JSON."),
        (b"\xff\xfe", "The body is not JSON."),
        (b"", "The body is not JSON."),
        (b"[]", "The request is not valid."),
        (b'{"id": "a"}', "The request is not valid. row: Field required"),
        (json.dumps({"row": ROW}).encode(), "The request is not valid. id: Field required"),
        (json.dumps({"id": "a\u0000", "row": ROW}).encode(), "id: String should match pattern"),
        (json.dumps({"id": "ä", "row": ROW}).encode(), "id: String should match pattern"),
        (json.dumps({"id": "a", "row": ROW, "x": 1}).encode(), "x: Extra inputs are not"),
        (event("a", **BEYOND.row).body, f"row.{BEYOND.field}: Input"),
        (event("a", **{FIRST: "x" * MAX_BYTES}).body, f"Send {MAX_BYTES} bytes at most"),
    ],
)
def test_a_bad_message_is_buried_with_the_reason(sink: Sink, body: bytes, reason: str) -> None:
    told = Told()

    consume(make(sink, told), Received("events 7", body), event("good"))

    letter, prediction = told
    assert isinstance(letter, DeadLetter)
    assert isinstance(prediction, Prediction)
    assert reason in letter.reason
    assert letter.origin == "events 7"
    assert list(sink.buried("events")) == [letter]


@pytest.mark.parametrize(
    ("body", "shown"),
    [(b"caf\xc3\xa9", "café"), (b"\xff{", "\\xff{"), (b"a\x00b", "a\\x00b"), (b"\\xff", "\\xff")],
)
def test_a_dead_letter_can_be_read_and_keeps_every_byte(
    sink: Sink, body: bytes, shown: str
) -> None:
    told = Told()
    consume(make(sink, told), Received("events 7", body))

    (letter,) = sink.buried("events")

    assert letter.body == told.content[0]["body"] == shown
    assert letter.content == body


def test_a_long_body_is_kept_whole_and_told_without(sink: Sink) -> None:
    told = Told()
    body = b"x" * 100_000

    consume(make(sink, told), Received("events 7", body))

    (letter,) = sink.buried("events")
    assert letter.content == body
    assert told.content[0].keys() == {"dead_letter_id", "origin", "reason"}


def test_a_bad_message_that_comes_again_is_buried_once(sink: Sink) -> None:
    for _ in range(2):
        consume(make(sink, Told()), Received("events 7", b"no JSON"))

    assert len(list(sink.buried("events"))) == 1


def test_an_id_that_is_used_for_another_row_is_not_lost(sink: Sink) -> None:
    told = Told()
    consume(make(sink, told), event("a"), event("a", **OTHER), event("a", **VALID[3]))

    assert isinstance(told[0], Prediction)
    assert [letter.reason for letter in sink.buried("events")] == [REUSED, REUSED]


def test_a_model_that_fails_is_replaced_by_the_fallback_and_marked(sink: Sink) -> None:
    told = Told()

    consume(make(sink, told, predictor=Stub(float("nan"))), event("a"))

    (answer,) = told.content
    assert (answer["prediction"], answer["degraded"]) == (PREDICTED[1], "not_finite")


class Noted:
    """A sample of what waits for labels."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def note(self, *noted: Any, is_event: bool) -> None:
        assert is_event
        self.events.append(noted)


def test_what_the_model_answers_waits_for_its_label_by_the_id_of_the_event(sink: Sink) -> None:
    noted, row = Noted(), CONTRACT.to_row(ROW)

    consume(make(sink, Told(), noted), event("a"), event("a"), Received("events 7", b"no JSON"))
    consume(make(sink, Told(), noted, version="v2"), event("a"))
    consume(make(sink, Told(), noted, predictor=Stub(float("nan"))), event("degraded"))

    assert noted.events == [("a", "v1", [row], [example_prediction(0.5)])]


def test_what_another_consumer_has_kept_waits_for_no_second_label(sink: Sink) -> None:
    noted = Noted()

    async def run() -> None:
        consumers = [make(sink, Told(), noted, version=version) for version in ("v1", "v2")]
        await asyncio.gather(*(each.consume([event("a")]) for each in consumers))

    asyncio.run(run())

    assert [each[1] for each in noted.events] == [sink.find(["a"])["a"].model_version]


@pytest.mark.parametrize(
    ("fallback", "reason"),
    [
        (None, "The model gave no answer: not_finite."),
        (
            Fallback(group_by="gone", value={}, otherwise=example_prediction(0.25)),
            "The service failed.",
        ),
    ],
)
def test_without_an_answer_the_event_is_buried(
    sink: Sink, fallback: Fallback | None, reason: str
) -> None:
    told = Told()
    model = {"predictor": Stub(float("nan")), "fallback": fallback}

    consume(make(sink, told, **model), event("a"), event("a"))

    assert {letter.reason for letter in told if isinstance(letter, DeadLetter)} == {reason}
    assert sink.find(["a"]) == {}


def test_a_database_that_fails_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "locked.db"
    sink, told = Sink(CONTRACT, f"sqlite:///{path}?timeout=0"), Told()
    consumer = make(sink, told)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    async def run() -> None:
        task = asyncio.create_task(consumer.consume([event("secret-name")]))
        while "nothing is consumed for now" not in caplog.text:
            await asyncio.sleep(0.01)
        assert not told
        other.execute("ROLLBACK")
        await asyncio.wait_for(task, 30)

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    other.close()
    sink.close()

    assert len(told) == 1
    assert "database is locked" in caplog.text
    assert "secret-name" not in caplog.text


def test_a_broker_that_fails_is_waited_for(sink: Sink) -> None:
    told = Told()
    failures = iter([True, True])

    async def tell(outcome: Outcome) -> None:
        if next(failures, False):
            raise ConnectionError("gone")
        await told(outcome)

    stub = Stub()
    consume(make(sink, tell, predictor=stub), event("a"))

    assert len(told) == 1
    assert stub.rows == [1]


def test_a_consumer_that_is_stopped_settles_what_others_wait_for(sink: Sink) -> None:
    told = Told()
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def tell(outcome: Outcome) -> None:
        reached.set()
        await go_on.wait()
        await told(outcome)

    consumer = make(sink, tell)

    async def run() -> None:
        first = asyncio.create_task(consumer.consume([event("a")]))
        await reached.wait()
        second = asyncio.create_task(consumer.consume([event("b")]))
        await asyncio.sleep(0)
        first.cancel()
        go_on.set()
        await second

    asyncio.run(run())

    assert {outcome.id for outcome in told} == {"a", "b"}


def test_two_consumers_keep_one_answer(sink: Sink) -> None:
    told = Told()

    async def run(names: Sequence[str]) -> None:
        consumers = [make(sink, told, predictor=Stub(answer)) for answer in (0.25, 0.75)]
        received = [event(name) for name in names]
        await asyncio.gather(*(each.consume(received) for each in consumers))

    asyncio.run(run([str(at) for at in range(50)]))

    assert len(told) == 100
    assert len(set(told)) == 50


def test_a_person_may_ask_the_tables(sink: Sink, database_url: str) -> None:
    consume(make(sink, Told()), event("a"), Received("events 7", b"no JSON"))

    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        counted = "SELECT model_version, count(*) FROM predictions GROUP BY model_version"
        assert connection.execute(sa.text(counted)).all() == [("v1", 1)]
        assert connection.execute(sa.text("SELECT body FROM dead_letters")).all() == [("no JSON",)]
    engine.dispose()
