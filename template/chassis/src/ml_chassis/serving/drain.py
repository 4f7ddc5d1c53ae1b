"""Stop without losing a request.

A load balancer notices only after a while that a service is going away. So after SIGTERM the
service says that it is not ready, answers on for some seconds while it asks its clients to
reconnect elsewhere (`Connection: close`), and only then lets the server shut down, which
finishes the requests under way.
"""

import asyncio
import logging
import signal
from contextvars import Context
from types import FrameType

LOGGER = logging.getLogger("model_service")


class Drain:
    """Delays what SIGTERM does."""

    def __init__(self, seconds: float) -> None:
        """Take the time between SIGTERM and the shutdown."""
        self.active = False
        self._seconds = seconds

    def install(self) -> None:
        """Put the delay before the SIGTERM handler of the server that runs this event loop."""
        loop = asyncio.get_running_loop()
        stop = signal.getsignal(signal.SIGTERM)
        if not callable(stop):  # no server here
            return

        def start(number: int, frame: FrameType | None) -> None:
            if not self.active:
                self.active = True
                # In no request's name, though one may be interrupted.
                nobody = Context()
                text = "stopping in %g s"
                loop.call_soon_threadsafe(LOGGER.info, text, self._seconds, context=nobody)
                loop.call_soon_threadsafe(loop.call_later, self._seconds, stop, number, frame)

        signal.signal(signal.SIGTERM, start)
