"""What writes once a second, beside the requests, what these have noted."""

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress

TICK_SECONDS = 1.0
LAST_SECONDS = 2.0
"""For what is noted to be written, at the end."""


class Writer(ABC):
    """Writes in a thread of its own."""

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
