"""Messages are settled together: read, kept, told, in this order, and only then acknowledged.

What arrives while messages are being settled waits, and is settled with the next: one commit for
all of it. A crash at any moment loses nothing: what was not acknowledged comes again.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, ParamSpec, TypeVar

import stamina

from ..monitoring import metrics
from ..serving.messages import RefusedError
from . import brief
from .events import DeadLetter, Prediction, Received, bury
from .sink import Sink

LOGGER = logging.getLogger("model_service")
MAX_WAIT_SECONDS = 30
TOLD_TOGETHER = 64
"""A broker confirms many messages in the time of one; Redis needs a connection for each."""

# Repeated calls are logged here, without the values that they hold.
stamina.instrumentation.set_on_retry_hooks([])

P = ParamSpec("P")
T = TypeVar("T")
Outcome = Prediction | DeadLetter
Tell = Callable[[Outcome], Awaitable[Any]]


class Consumer(ABC):
    """Takes messages; how they are settled, a class for each kind says."""

    outcomes: ClassVar[dict[str, str]]
    """What may become of a message, as its metric names it, and in the words of the log."""

    def __init__(self, sink: Sink, tell: Tell) -> None:
        """Take what keeps, and what tells others."""
        self.counts = Counter[str]()
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
                await self.settle([each for part in taken for each in part])
                del self._waiting[: len(taken)]

    @property
    def summary(self) -> str:
        """What became of the messages, for the log."""
        counted = (f"{self.counts[outcome]} {said}" for outcome, said in self.outcomes.items())
        return f"{self.counts.total()} messages: {', '.join(counted)}"

    @abstractmethod
    async def settle(self, batch: Sequence[Received]) -> None:
        """Keep what messages hold, tell what became of them, and count it."""

    async def conclude(self, outcomes: Sequence[Outcome]) -> None:
        """Keep the dead letters, and tell all outcomes."""
        letters = [each for each in outcomes if isinstance(each, DeadLetter)]
        if letters:
            await self.surely(asyncio.to_thread, self._sink.bury, letters)
        await asyncio.gather(*(self._announce(outcome) for outcome in outcomes))

    async def surely(
        self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call until it succeeds: nothing else is taken meanwhile, and nothing acknowledged."""
        return await self._repeating(_try_again, function, *args, **kwargs)

    def count(self, **outcomes: int) -> None:
        """Count messages by what became of them."""
        self.counts.update(outcomes)
        for outcome, messages in outcomes.items():
            metrics.count_messages(outcome, messages)

    async def _announce(self, outcome: Outcome) -> None:
        async with self._telling:
            await self.surely(self._tell, outcome)


def read_or_bury(read: Callable[[Received], T], received: Received) -> T | DeadLetter:
    """Return what a message holds; of one that is refused, the dead letter."""
    try:
        return read(received)
    except RefusedError as refused:
        return bury(received, refused.refusal.text)


def _try_again(error: BaseException) -> bool:
    if not isinstance(error, Exception):  # it is being stopped
        return False
    LOGGER.error("nothing is consumed for now: %s", brief(error))
    return True
