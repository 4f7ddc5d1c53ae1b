"""Batches, time budget and fallback, with models that fail in each way."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from chassis.flights import CONTRACT
from ml_chassis.contract import Categorical, Numeric, Predictions, Rows, Table
from ml_chassis.fallback import Fallback
from ml_chassis.monitoring.drift import DriftCounts
from ml_chassis.serving.scoring import (
    ALONE_ROWS,
    MAX_BATCH_ROWS,
    Model,
    NoAnswerError,
    OverloadedError,
    Scored,
    Scorer,
    inline_rows,
)
from waiting import PATIENCE_SECONDS

CATEGORICAL = CONTRACT.categorical
example_row = CONTRACT.example_row
to_arrays = CONTRACT.to_arrays
to_row = CONTRACT.to_row

ROW = to_row(example_row())
BASE_RATE = Fallback(group_by="", value={}, otherwise=0.25)
BUDGET = 0.5


@dataclass
class Stub:
    """Answers 0.5, or as it is told, and notes the size of each call."""

    answer: Callable[[int], Any] = lambda rows: np.full(rows, 0.5, np.float32)
    calls: list[int] = field(default_factory=list)

    def predict(self, numeric: Numeric, categorical: Categorical) -> Predictions:
        del categorical
        self.calls.append(len(numeric))
        result: Predictions = self.answer(len(numeric))
        return result


def slow(seconds: float) -> Callable[[int], Predictions]:
    def answer(rows: int) -> Predictions:
        time.sleep(seconds)
        return np.full(rows, 0.5, np.float32)

    return answer


def fail(_: int) -> None:
    raise RuntimeError("password=secret")


def serve(
    stub: Stub | None,
    requests: Callable[[Scorer], Coroutine[Any, Any, Any]],
    inline: int = MAX_BATCH_ROWS,
    fallback: Fallback | None = BASE_RATE,
    max_waiting: int = 1_000,
) -> Any:
    """Run requests against a scorer with the stub as its model."""

    async def run() -> Any:
        scorer = Scorer(CONTRACT, BUDGET, max_waiting)
        scorer.use(Model("v1", stub, fallback, inline))
        return await requests(scorer)

    return asyncio.run(run())


async def together(scorer: Scorer, *sizes: int) -> list[Scored]:
    return await gather(scorer, *([ROW] * size for size in sizes))


async def gather(scorer: Scorer, *requests: Rows) -> list[Scored]:
    return await asyncio.gather(*(scorer.score(rows) for rows in requests))


def table(size: int, **values: str) -> Table:
    """Return rows in columns."""
    return Table(*to_arrays([to_row({**example_row(), **values})] * size))


@pytest.mark.parametrize("inline", [MAX_BATCH_ROWS, 0], ids=["in the loop", "in a thread"])
def test_each_request_gets_its_own_rows_back(inline: int) -> None:
    stub = Stub(lambda rows: np.arange(rows, dtype=np.float32))

    answers = serve(stub, lambda scorer: together(scorer, 1, 3, 2), inline)

    assert [answer.predictions for answer in answers] == [[0.0], [1.0, 2.0, 3.0], [4.0, 5.0]]
    assert stub.calls == [6]


def test_a_large_request_has_no_company() -> None:
    stub = Stub()

    serve(stub, lambda scorer: together(scorer, 1, ALONE_ROWS, 1))

    assert stub.calls == [ALONE_ROWS, 2]


def test_a_lone_request_is_answered_alone_and_at_once() -> None:
    stub = Stub()

    async def one_after_another(scorer: Scorer) -> None:
        for _ in range(3):
            await scorer.score([ROW])

    serve(stub, one_after_another)

    assert stub.calls == [1, 1, 1]


def test_what_arrives_during_a_call_is_answered_by_the_next_one() -> None:
    release = threading.Event()
    stub = Stub(lambda rows: release.wait() and np.full(rows, 0.5, np.float32))

    async def during(scorer: Scorer) -> None:
        first = asyncio.create_task(scorer.score([ROW]))
        while not stub.calls:
            await asyncio.sleep(0)
        others = [asyncio.create_task(scorer.score([ROW])) for _ in range(5)]
        await asyncio.sleep(0)  # each of them has its turn
        release.set()
        await asyncio.gather(first, *others)

    serve(stub, during, inline=0)

    assert stub.calls == [1, 5]


def test_a_batch_is_bounded_but_a_large_request_stays_whole() -> None:
    stub = Stub()

    serve(stub, lambda scorer: together(scorer, 200, 100, 1_000, 1))

    assert stub.calls == [200, 100, 1_000, 1]


@pytest.mark.parametrize("inline", [MAX_BATCH_ROWS, 0], ids=["in the loop", "in a thread"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (fail, "error"),
        (lambda rows: np.full(rows, np.nan), "not_finite"),
        (lambda rows: np.full(rows, np.inf), "not_finite"),
    ],
    ids=["raises", "nan", "infinite"],
)
def test_a_model_that_fails_is_replaced_by_the_fallback(
    answer: Callable[[int], Any], reason: str, inline: int
) -> None:
    (scored,) = serve(Stub(answer), lambda scorer: together(scorer, 2), inline)

    assert scored == Scored([0.25, 0.25], "v1", reason)


def test_a_model_that_could_not_be_loaded_is_replaced_by_the_fallback() -> None:
    assert serve(None, lambda scorer: together(scorer, 1)) == [Scored([0.25], "v1", "no_model")]


def test_a_request_that_fails_does_not_take_others_with_it() -> None:
    stub = Stub(lambda rows: fail(rows) if rows in {2, 4} else np.full(rows, 0.5, np.float32))

    answers = serve(stub, lambda scorer: together(scorer, 1, 2, 1))

    assert [answer.degraded for answer in answers] == [None, "error", None]


def test_a_failure_beside_the_answer_does_not_take_it_away() -> None:
    class Broken(DriftCounts):
        def __init__(self) -> None:
            pass

        def add(self, *_: object) -> None:
            raise RuntimeError("no counts")

    async def run() -> Scored:
        scorer = Scorer(CONTRACT, BUDGET, 10)
        scorer.use(Model("v1", Stub(), None, MAX_BATCH_ROWS, Broken()))
        return await asyncio.wait_for(scorer.score([ROW]), 1)

    assert asyncio.run(run()).predictions == [0.5]


@pytest.mark.parametrize("inline", [MAX_BATCH_ROWS, 0], ids=["in the loop", "in a thread"])
def test_a_fallback_that_fails_is_an_error_and_not_silence(inline: int) -> None:
    unknown = Fallback(group_by="gone", value={}, otherwise=0.25)

    async def requests(scorer: Scorer) -> None:
        with pytest.raises(ValueError, match="not in tuple"):
            await asyncio.wait_for(scorer.score([ROW]), PATIENCE_SECONDS)

    serve(Stub(fail), requests, inline, unknown)


def test_a_slow_model_is_given_up_and_taken_back() -> None:
    release = threading.Event()
    stub = Stub(lambda rows: release.wait() and np.full(rows, 0.5, np.float32))

    async def requests(scorer: Scorer) -> None:
        start = time.perf_counter()
        assert (await scorer.score([ROW])).degraded == "slow"
        assert time.perf_counter() - start >= BUDGET

        at_once = asyncio.create_task(scorer.score([ROW]))
        for _ in range(10):
            await asyncio.sleep(0)
        assert at_once.done()  # nobody waits for a call that was given up
        assert at_once.result().degraded == "slow"

        release.set()
        while (await scorer.score([ROW])).degraded:
            await asyncio.sleep(0.01)

    serve(stub, requests, inline=0)


def test_a_model_that_becomes_slow_leaves_the_event_loop() -> None:
    stub = Stub(slow(BUDGET * 2))

    async def requests(scorer: Scorer) -> list[Scored]:
        return [await scorer.score([ROW]) for _ in range(2)]

    first, second = serve(stub, requests)

    assert (first.degraded, second.degraded) == (None, "slow")


@pytest.mark.parametrize("stub", [Stub(fail), None], ids=["raises", "not loaded"])
def test_without_a_fallback_there_is_no_answer(stub: Stub | None) -> None:
    with pytest.raises(NoAnswerError):
        serve(stub, lambda scorer: together(scorer, 1), fallback=None)


def test_more_than_may_wait_is_refused_and_the_rest_answered() -> None:
    async def flood(scorer: Scorer) -> list[Any]:
        return await asyncio.gather(
            *(scorer.score([ROW]) for _ in range(8)), return_exceptions=True
        )

    answers = serve(Stub(), flood, max_waiting=5)

    assert [isinstance(answer, OverloadedError) for answer in answers] == [False] * 5 + [True] * 3


def test_the_most_that_waited_at_once_are_told_once() -> None:
    async def flood(scorer: Scorer) -> tuple[int, int]:
        await together(scorer, *[1] * 8)
        return scorer.take_most_waiting(), scorer.take_most_waiting()

    assert serve(Stub(), flood) == (8, 0)


def test_a_slow_model_is_called_in_a_thread() -> None:
    assert inline_rows(CONTRACT, Stub()) == MAX_BATCH_ROWS
    assert inline_rows(CONTRACT, Stub(slow(0.01))) == 0


def test_rows_and_columns_are_answered_together_in_their_order() -> None:
    stub = Stub(lambda rows: np.arange(rows, dtype=np.float32))

    answers = serve(stub, lambda scorer: gather(scorer, [ROW], table(2), [ROW] * 2, table(1)))

    assert [answer.predictions for answer in answers] == [[0.0], [1.0, 2.0], [3.0, 4.0], [5.0]]
    assert stub.calls == [6]


def test_the_model_gets_the_same_values_from_rows_and_columns() -> None:
    seen: list[tuple[Numeric, Categorical]] = []

    class Noting(Stub):
        def predict(self, numeric: Numeric, categorical: Categorical) -> Predictions:
            seen.append((numeric, categorical))
            return super().predict(numeric, categorical)

    serve(Noting(), lambda scorer: gather(scorer, [ROW], table(1)))

    ((numeric, categorical),) = seen
    np.testing.assert_array_equal(numeric[0], numeric[1])
    np.testing.assert_array_equal(categorical[0], categorical[1])


def test_others_are_answered_between_the_batches_of_many_columns() -> None:
    stub = Stub(lambda rows: np.full(rows, rows / 1_000, np.float32))
    finished: list[str] = []

    async def ask(scorer: Scorer, name: str, rows: Rows) -> Scored:
        answer = await scorer.score(rows)
        finished.append(name)
        return answer

    async def requests(scorer: Scorer) -> list[Scored]:
        many = asyncio.create_task(ask(scorer, "many", table(MAX_BATCH_ROWS * 3 + 7)))
        await asyncio.sleep(0)
        return [await ask(scorer, "one", [ROW]), await many]

    one, many = serve(stub, requests)

    assert finished == ["one", "many"]
    assert len(one.predictions) == 1
    assert len(many.predictions) == MAX_BATCH_ROWS * 3 + 7
    assert max(stub.calls) <= MAX_BATCH_ROWS


def test_one_version_answers_all_of_many_columns() -> None:
    old, new = Stub(), Stub(lambda rows: np.full(rows, 0.9, np.float32))

    async def requests(scorer: Scorer) -> Scored:
        many = asyncio.create_task(scorer.score(table(MAX_BATCH_ROWS * 4)))
        while not old.calls:
            await asyncio.sleep(0)
        scorer.use(Model("v2", new, BASE_RATE, MAX_BATCH_ROWS))
        return await many

    answer = serve(old, requests)

    assert answer.version == "v2"
    assert answer.predictions == pytest.approx([0.9] * MAX_BATCH_ROWS * 4)


def test_the_fallback_answers_all_of_many_columns_or_none() -> None:
    stub = Stub(lambda rows: np.full(rows, 0.5 if rows == MAX_BATCH_ROWS else np.nan, np.float32))

    answer = serve(stub, lambda scorer: scorer.score(table(MAX_BATCH_ROWS + 1)))

    assert answer == Scored([0.25] * (MAX_BATCH_ROWS + 1), "v1", "not_finite")


@pytest.mark.parametrize("group", CATEGORICAL)
def test_the_fallback_knows_the_groups_of_columns_as_those_of_rows(group: str) -> None:
    shares = Fallback(group_by=group, value={example_row()[group]: 0.75}, otherwise=0.25)

    assert shares.predict(CONTRACT, [ROW]) == shares.predict(CONTRACT, table(1)) == [0.75]
    assert shares.predict(CONTRACT, table(1, **{group: "?"})) == [0.25]
