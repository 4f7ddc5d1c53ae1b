"""The log of a process: one line for each event, as text for people or as JSON for machines.

Each line names the request that it is about, if that is watched. Of lines that say the same there
are `MOST` a second at most; the next one says how many were left out.
"""

import logging
import sys
import time
from typing import Literal

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.msgspec import MsgspecFormatter

from .current import CURRENT

MOST = 100
"""Lines of one kind a second, in one process."""
FORMAT = "%(asctime)s %(levelname)s %(message)s"
FIELDS = ("message", "levelname", "name")
NAMES = {"levelname": "level", "name": "logger", "exc_info": "exception"}
HIDDEN = {*RESERVED_ATTRS, "color_message"}
"""What a record of the standard library has, and uvicorn adds: the rest is fields of the event."""

Format = Literal["text", "json"]


class TextFormatter(logging.Formatter):
    """The message, then the fields of the event as name=value."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as its parent says
        """Return the line, without an exception."""
        fields = (f" {name}={each}" for name, each in vars(record).items() if name not in HIDDEN)
        return super().formatMessage(record) + "".join(fields)


class Context(logging.Filter):
    """Names the request in each line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line through."""
        if watched := CURRENT.get():
            vars(record).update(watched.ids)
        return True


class Bound(logging.Filter):
    """Lets some lines of each kind through in a second: a flood helps nobody."""

    def __init__(self, most: int = MOST) -> None:
        """Take how many."""
        super().__init__()
        self._most = most
        self._second = 0
        self._seen: dict[tuple[str, str], int] = {}
        self._left_out: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written; in the next second, it says how many were not."""
        kind, second = (record.name, str(record.msg)), int(time.monotonic())
        if second != self._second:
            self._second, self._seen = second, {}
        self._seen[kind] = self._seen.get(kind, 0) + 1
        if self._seen[kind] > self._most:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False
        if left_out := self._left_out.pop(kind, 0):
            record.left_out = left_out
        return True


def start(form: Format, level: int = logging.INFO) -> None:
    """Write the log of this process to its standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        TextFormatter(FORMAT)
        if form == "text"
        else MsgspecFormatter(FIELDS, timestamp="time", rename_fields=NAMES, reserved_attrs=HIDDEN)
    )
    handler.addFilter(Bound())
    handler.addFilter(Context())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
