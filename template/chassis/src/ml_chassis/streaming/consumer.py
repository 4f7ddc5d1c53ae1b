"""Messages to predictions: read, score, keep, tell, in this order, and only then acknowledge.

What arrives while messages are being settled waits, and is settled with the next: one call of the
model and one commit for all of it. A crash at any moment loses nothing: what was not acknowledged
comes again, and what is kept already is told again as it is kept, not predicted again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import stamina

from ..contract import Contract
from ..monitoring import metrics
from ..serving.messages import RefusedError
from ..serving.scoring import NoAnswerError, Scorer
from . import brief
from .events import DeadLetter, Event, EventReader, Prediction, Received, bury
from .sink import Sink

LOGGER = logging.getLogger("model_service")
MAX_WAIT_SECONDS = 30
TOLD_TOGETHER = 64
"""A broker confirms many messages in the time of one; Redis needs a connection for each."""
REUSED = "The id was used before, for another row."

# Repeated calls are logged here, without the values that they hold.
stamina.instrumentation.set_on_retry_hooks([])

P = ParamSpec("P")
T = TypeVar("T")
Outcome = Prediction | DeadLetter
Tell = Callable[[Outcome], Awaitable[Any]]


@dataclass
class Counts:
    """What became of the messages."""

    messages: int = 0
    predicted: int = 0
    duplicates: int = 0
    dead_letters: int = 0


class Consumer:
    """Settles messages."""

    def __init__(
        self, contract: Contract, scorer: Scorer, sink: Sink, tell: Tell, max_bytes: int
    ) -> None:
        """Take what predicts, what keeps, what tells others, and how long a message may be."""
        self.counts = Counts()
        self._contract = contract
        self._reader = EventReader(contract, max_bytes)
        self._scorer = scorer
        self._sink = sink
        self._tell = tell
        self._waiting: list[Sequence[Received]] = []
        self._turn = asyncio.Lock()
        self._telling = asyncio.Semaphore(TOLD_TOGETHER)
        self._repeating = stamina.AsyncRetryingCaller(
            attempts=None, timeout=None, wait_initial=0.1, wait_max=MAX_WAIT_SECONDS
        )

    async def consume(self, received: Sequence[Received]) -> None:
        """Settle messages; once this returns, they may be acknowledged."""
        self._waiting.append(received)
        await asyncio.sleep(0)  # others have arrived with them
        async with self._turn:
            # They stay in the list until they are settled: this may be cancelled at any moment.
            if any(each is received for each in self._waiting):
                taken = list(self._waiting)
                await self._settle([each for part in taken for each in part])
                del self._waiting[: len(taken)]

    async def _settle(self, batch: Sequence[Received]) -> None:
        found = [self._read(each) for each in batch]
        events = {each.id: each for each in reversed(found) if isinstance(each, Event)}
        known = await self._surely(asyncio.to_thread, self._sink.find, events)
        fresh = [event for event in events.values() if event.id not in known]
        scored = await asyncio.gather(*(self._score(event) for event in fresh))
        predicted = [each for each in scored if isinstance(each, Prediction)]
        if predicted:
            await self._surely(asyncio.to_thread, self._sink.keep, predicted)
            # What counts is what is kept: another consumer may have had the same event.
            known = await self._surely(asyncio.to_thread, self._sink.find, events)
        unanswered = {
            event.id: each
            for event, each in zip(fresh, scored, strict=True)
            if not isinstance(each, Prediction)
        }
        outcomes = [_outcome(each, known, unanswered) for each in found]
        letters = [each for each in outcomes if isinstance(each, DeadLetter)]
        if letters:
            await self._surely(asyncio.to_thread, self._sink.bury, letters)
        await asyncio.gather(*(self._announce(outcome) for outcome in outcomes))
        self._count(len(batch), len(predicted), len(letters))

    def _read(self, received: Received) -> Event | DeadLetter:
        try:
            return self._reader.read(received)
        except RefusedError as refused:
            return bury(received, refused.refusal.text)

    async def _score(self, event: Event) -> Prediction | str:
        """Return the prediction of an event, or why there is none."""
        try:
            scored = await self._scorer.score([event.row])
        except NoAnswerError as error:
            return f"The model gave no answer: {error.reason}."
        except Exception:
            LOGGER.exception("an event was not predicted")
            return "The service failed."
        (predicted,) = self._contract.named(scored.predictions)
        return Prediction(event.id, event.fingerprint, predicted, scored.version, scored.degraded)

    async def _announce(self, outcome: Outcome) -> None:
        async with self._telling:
            await self._surely(self._tell, outcome)

    async def _surely(
        self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call until it succeeds: nothing else is taken meanwhile, and nothing acknowledged."""
        return await self._repeating(_try_again, function, *args, **kwargs)

    def _count(self, messages: int, predicted: int, dead_letters: int) -> None:
        duplicates = messages - predicted - dead_letters
        self.counts.messages += messages
        self.counts.predicted += predicted
        self.counts.dead_letters += dead_letters
        self.counts.duplicates += duplicates
        metrics.count_messages("predicted", predicted)
        metrics.count_messages("dead_letter", dead_letters)
        metrics.count_messages("duplicate", duplicates)


def _outcome(
    found: Event | DeadLetter, known: dict[str, Prediction], unanswered: dict[str, Any]
) -> Outcome:
    if isinstance(found, DeadLetter):
        return found
    if found.id not in known:
        return bury(found.received, unanswered[found.id])
    if known[found.id].fingerprint != found.fingerprint:
        return bury(found.received, REUSED)
    return known[found.id]


def _try_again(error: BaseException) -> bool:
    if not isinstance(error, Exception):  # it is being stopped
        return False
    LOGGER.error("nothing is consumed for now: %s", brief(error))
    return True
