"""From rows to predictions: batches, time budget and fallback, one model call at a time.

A lone request is answered at once. What arrives while the model is busy waits and is answered by
the next call together: a call costs much more than a row in it. Calls that are known to be short
run in the event loop, longer ones in a thread, where they can be given up.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np

from ..contract import Categorical, Contract, Numeric, Prediction, Predictions, Rows, Table
from ..current import CURRENT, Call, RequestContext, about
from ..fallback import Fallback
from ..monitoring import metrics
from ..monitoring.drift import DriftCounts
from ..monitoring.quality import Watch

LOGGER = logging.getLogger("model_service")
MAX_BATCH_ROWS = 256
ALONE_ROWS = 64
"""From so many rows on, sharing a call saves nothing, and to wait for it costs the CPU's caches."""
INLINE_SECONDS = 0.002


class Predicts(Protocol):
    """What the scorer needs of a predictor."""

    def predict(self, numeric: Numeric, categorical: Categorical) -> Predictions:
        """Return predictions, shape (rows, *width)."""


@dataclass(frozen=True)
class Model:
    """A model that is served; without a predictor it is one that could not be loaded."""

    version: str
    predictor: Predicts | None
    fallback: Fallback | None
    inline_rows: int = 0
    drift: DriftCounts | None = None
    created: datetime | None = None
    watch: Watch | None = None

    def is_quick(self, rows: int) -> bool:
        """Return whether the event loop may wait for the answer for so many rows."""
        return self.predictor is None or rows <= self.inline_rows


REASONS = ("no_model", "error", "not_finite", "slow")
"""Why the fallback may answer."""


class Scored(NamedTuple):
    """Predictions, one per row; `degraded` is why they are not the model's, or None."""

    predictions: list[Prediction]
    version: str
    degraded: str | None = None


class OverloadedError(Exception):
    """More is waiting than can be answered in time."""


class NoAnswerError(Exception):
    """The model gave no answer and no fallback is declared."""

    def __init__(self, reason: str) -> None:
        """Take why."""
        super().__init__(reason)
        self.reason = reason


class _Job(NamedTuple):
    rows: Rows
    answer: asyncio.Future[Scored]
    context: RequestContext | None


class _Failed(NamedTuple):
    reason: str


_Result = list[Prediction] | _Failed


def inline_rows(contract: Contract, predictor: Predicts) -> int:
    """Return how many rows the model answers within `INLINE_SECONDS`, a batch at most."""
    numeric, categorical = contract.example_arrays()
    count, fits = 1, 0
    while count <= MAX_BATCH_ROWS:
        rows = np.repeat(numeric, count, axis=0), np.repeat(categorical, count, axis=0)
        # The best of three: at the start the CPU is busy with other things.
        if min(_seconds(predictor, *rows) for _ in range(3)) > INLINE_SECONDS:
            break
        count, fits = count * 2, count
    return fits


def _seconds(predictor: Predicts, numeric: Numeric, categorical: Categorical) -> float:
    start = perf_counter()
    predictor.predict(numeric, categorical)
    return perf_counter() - start


class Scorer:
    """Answers with the model that `use` was last given."""

    def __init__(self, contract: Contract, budget_seconds: float, max_waiting: int) -> None:
        """Take the schema, the time of one call, and how many requests may wait."""
        self._contract = contract
        self._to_inputs = contract.to_inputs
        self._budget = budget_seconds
        self._max_waiting = max_waiting
        self._model = Model("none", None, None)
        self._waiting: deque[_Job] = deque()
        self._most_waiting = 0
        self._scheduled = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._call: asyncio.Future[list[_Result]] | None = None
        self._late = False
        # Calls, and what follows on them, are of nobody: else their lines in the log would name who
        # was answered before.
        self._nobody = Context()

    @property
    def model(self) -> Model:
        """The model that answers the next request."""
        return self._model

    def use(self, model: Model) -> None:
        """Answer with this model from the next call on."""
        self._model = model

    def take_most_waiting(self) -> int:
        """Return how many requests waited at once, at most, since this was asked last."""
        most, self._most_waiting = self._most_waiting, len(self._waiting)
        return most

    async def score(self, rows: Rows, *, is_tried: bool = False) -> Scored:
        """Return the answer for the rows of one request, at least one, and count them.

        Args:
            rows: What is predicted.
            is_tried: Whether another model answers where this one is degraded, and is counted.

        Raises:
            OverloadedError: too many requests wait already.
            NoAnswerError: the model fails and there is no fallback.
        """
        context = CURRENT.get()
        if isinstance(rows, Table) and len(rows) > MAX_BATCH_ROWS:
            scored = await self._score_in_parts(rows, context)
        elif len(rows) >= ALONE_ROWS and self._call is None and self._model.is_quick(len(rows)):
            job = _Job(rows, asyncio.get_running_loop().create_future(), context)
            self._serve_at_once(self._model, [job])
            scored = await job.answer
        else:
            scored = await self._submit(rows, context)
        if is_tried and scored.degraded:
            return scored
        metrics.count_predictions(scored.version, scored.degraded, len(rows))
        if context is not None:
            context.rows += len(rows)
            context.model_version, context.degraded = scored.version, scored.degraded
        return scored

    async def _score_in_parts(self, table: Table, context: RequestContext | None) -> Scored:
        """Return the answer for many rows, one batch after another: others are served in between.

        One version answers all of them, and so does the fallback if the model fails on any.
        """
        model, predictions = self._model, list[Prediction]()
        while len(predictions) < len(table):
            start = len(predictions)
            part = await self._submit(table[start : start + MAX_BATCH_ROWS], context)
            if part.version != model.version:  # another model is served now
                return await self._score_in_parts(table, context)
            if part.degraded and model.fallback:
                predicted = model.fallback.predict(self._contract, table)
                return Scored(predicted, model.version, part.degraded)
            predictions += part.predictions
        return Scored(predictions, model.version)

    def _submit(self, rows: Rows, context: RequestContext | None) -> asyncio.Future[Scored]:
        if len(self._waiting) >= self._max_waiting:
            raise OverloadedError
        loop = asyncio.get_running_loop()
        job = _Job(rows, loop.create_future(), context)
        self._waiting.append(job)
        self._most_waiting = max(self._most_waiting, len(self._waiting))
        self._schedule(loop)
        return job.answer

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve what waits after the callbacks that are ready now, which may bring more."""
        if self._waiting and not self._scheduled and (self._call is None or self._late):
            self._scheduled = True
            loop.call_soon(self._serve, loop, context=self._nobody)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        model, batch = self._model, self._next_batch()
        if self._late:  # the thread is still with a call that was given up
            self._answer(model, batch, [_Failed("slow")] * len(batch))
        elif model.is_quick(_rows(batch)):
            self._serve_at_once(model, batch)
        else:
            self._serve_in_thread(loop, model, batch)
        self._schedule(loop)

    def _serve_at_once(self, model: Model, batch: Sequence[_Job]) -> None:
        start = perf_counter()
        self._answer(model, batch, self._run(model, batch))
        if perf_counter() - start > self._budget:
            LOGGER.warning("the model took long; from now on it is called in a thread")
            self.use(replace(model, inline_rows=0))

    def _next_batch(self) -> list[_Job]:
        """Take the oldest requests, as many as fit into a batch and at least one."""
        batch = [self._waiting.popleft()]
        count = len(batch[0].rows)
        while self._waiting and count + len(self._waiting[0].rows) <= MAX_BATCH_ROWS:
            batch.append(self._waiting.popleft())
            count += len(batch[-1].rows)
        return batch

    def _run(self, model: Model, batch: Sequence[_Job]) -> list[_Result]:
        """Call the model; a request that it cannot answer does not take others with it."""
        if model.predictor is None:
            return [_Failed("no_model")] * len(batch)
        start = perf_counter()
        try:
            inputs = self._to_inputs([job.rows for job in batch])
            start = perf_counter()
            predictions = model.predictor.predict(*inputs)
            seconds = perf_counter() - start
            metrics.count_call(model.version, len(predictions), seconds)
            _note(batch, Call(start, seconds, len(predictions)))
            # A sum is not finite where one of its terms is not; of float64, as it may be large.
            finite = math.isfinite(predictions.sum(dtype=np.float64))
            problem = "" if finite else "not_finite"
        except Exception:
            with about(_only_context(batch)):
                LOGGER.exception("the model failed")
            _note(batch, Call(start, perf_counter() - start, _rows(batch), failed=True))
            problem = "error"
        if problem:
            if len(batch) == 1:
                return [_Failed(problem)]
            return [result for job in batch for result in self._run(model, [job])]
        ends = [*accumulate(len(job.rows) for job in batch)]
        if model.drift:
            try:
                model.drift.add(*inputs, predictions, [0, *ends[:-1]])
            except Exception:  # the answer matters more
                LOGGER.exception("rows were not counted for drift")
        values: list[Prediction] = predictions.tolist()
        return [values[end - len(job.rows) : end] for job, end in zip(batch, ends, strict=True)]

    def _serve_in_thread(
        self, loop: asyncio.AbstractEventLoop, model: Model, batch: Sequence[_Job]
    ) -> None:
        self._call = loop.run_in_executor(self._thread, self._run, model, batch)
        give_up = loop.call_later(self._budget, self._give_up, loop, model, batch)

        def done(call: asyncio.Future[list[_Result]]) -> None:
            give_up.cancel()
            self._call, self._late = None, False
            self._answer(model, batch, call.result())
            self._schedule(loop)

        self._call.add_done_callback(done)

    def _give_up(
        self, loop: asyncio.AbstractEventLoop, model: Model, batch: Sequence[_Job]
    ) -> None:
        self._late = True
        with about(_only_context(batch)):
            LOGGER.error("the model took more than %g s", self._budget)
        start = perf_counter() - self._budget
        _note(batch, Call(start, self._budget, _rows(batch), failed=True))
        self._answer(model, batch, [_Failed("slow")] * len(batch))
        self._schedule(loop)

    def _answer(self, model: Model, batch: Sequence[_Job], results: Sequence[_Result]) -> None:
        for job, result in zip(batch, results, strict=True):
            if job.answer.done():  # given up
                continue
            try:
                job.answer.set_result(self._to_answer(model, job.rows, result))
            except Exception as error:
                job.answer.set_exception(error)

    def _to_answer(self, model: Model, rows: Rows, result: _Result) -> Scored:
        """Return what answers the rows of one request.

        Raises:
            NoAnswerError: the model failed and there is no fallback.
        """
        if not isinstance(result, _Failed):
            return Scored(result, model.version)
        if model.fallback is None:
            raise NoAnswerError(result.reason)
        return Scored(model.fallback.predict(self._contract, rows), model.version, result.reason)


def _rows(batch: Sequence[_Job]) -> int:
    return sum(len(job.rows) for job in batch)


def _only_context(batch: Sequence[_Job]) -> RequestContext | None:
    """Return that of the request of a call, unless it is of several."""
    return batch[0].context if len(batch) == 1 else None


def _note(batch: Sequence[_Job], call: Call) -> None:
    """Let the requests that have a context know of a call that was for them."""
    for job in batch:
        if job.context is not None:
            job.context.calls.append(call)
