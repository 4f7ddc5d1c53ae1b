"""Tests wait for events, never for clocks."""

import time
from collections.abc import Callable

PATIENCE_SECONDS = 120


def wait_for(condition: Callable[[], bool], what: str = "the condition holds") -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it does not hold in time.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE_SECONDS} seconds: {what}")
        time.sleep(0.05)
