"""What writes answers once a second, beside the requests."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress

from .sample import Noted, Sample

TICK_SECONDS = 1.0
LAST_SECONDS = 2.0
"""For what is noted to be written, at the end."""
MAX_NOTED = 5_000
"""Answers that wait for a thread that hangs."""


class Writer(ABC):
    """Writes in a thread of its own."""

    def __init__(self) -> None:
        """Begin with nothing noted."""
        self._noted = deque[Noted]()

    takes_degraded = False
    """Whether it is given answers of the fallback, too."""

    def give(self, noted: Noted) -> None:
        """Take an answer, of which the chosen rows are to be written."""
        if noted.is_degraded and not self.takes_degraded:
            return
        if len(self._noted) < MAX_NOTED:
            self._noted.append(noted)
        else:
            self.lose(len(noted.chosen))

    def take_noted(self) -> list[Noted]:
        """Return what was given since this was called last."""
        # More may be given meanwhile.
        return [self._noted.popleft() for _ in range(len(self._noted))]

    @abstractmethod
    def lose(self, rows: int) -> None:
        """Count rows that are not written."""

    @abstractmethod
    async def in_background(self) -> None:
        """Write, and let the event loop go on."""

    @abstractmethod
    def close(self) -> None:
        """Let go of all."""

    async def run(self) -> None:
        """Write every second, until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self.in_background()

    async def end(self) -> None:
        """Write a last time, and close; what hangs does not hold up the end."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.in_background(), LAST_SECONDS)
        self.close()


class Writers:
    """All writers of a process, who write the same rows.

    Attributes:
        every: Those that there are.
        sample: Chooses the rows; None where nobody writes.
    """

    def __init__(self, *writers: Writer | None) -> None:
        """Take the writers that there are."""
        self.every = [each for each in writers if each]
        self.sample = Sample(*(each.give for each in self.every)) if self.every else None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Write from now on."""
        if self.sample:
            beside = [_renew(self.sample), *(each.run() for each in self.every)]
            self._tasks = [asyncio.create_task(each) for each in beside]

    async def end(self) -> None:
        """Write what is left."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):  # it ended by itself, and said why
                await task
        for writer in self.every:
            await writer.end()


async def _renew(sample: Sample) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        sample.renew()
