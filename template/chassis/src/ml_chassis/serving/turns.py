"""Large requests take turns, so that new connections and small requests are served in between.

To read and answer one of them may take a millisecond. All that have arrived would else be read one
after the other before any is answered, and leave the CPU's caches in the meantime.
"""

import asyncio
from collections import deque

from .scoring import OverloadedError

TURN_BYTES = 96 * 1024
"""A turn ends with the request that goes beyond it."""


class Turns:
    """Lets some through in each turn of the event loop, in the order of their arrival."""

    def __init__(self, max_waiting: int) -> None:
        """Take how many may wait."""
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._left = TURN_BYTES
        self._scheduled = False

    async def wait(self, size: int) -> None:
        """Wait for a turn, unless there is room in this one.

        Args:
            size: Bytes of the request.

        Raises:
            OverloadedError: too many wait already.
        """
        loop = asyncio.get_running_loop()
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._begin, loop)
        if self._left > 0 and not self._waiting:
            self._left -= size
            return
        if len(self._waiting) >= self._max_waiting:
            raise OverloadedError
        turn = loop.create_future()
        self._waiting.append((size, turn))
        await turn

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._left = TURN_BYTES
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            loop.call_soon(self._begin, loop)
        while self._waiting and self._left > 0:
            size, turn = self._waiting.popleft()
            if not turn.done():  # given up
                turn.set_result(None)
                self._left -= size
