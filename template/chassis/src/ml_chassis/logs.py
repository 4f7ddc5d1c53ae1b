"""The log of a process: one line for each event, as text for people or as JSON for machines.

Each line names the request that it is about, if that has a context. Of lines that say the same
there are `MOST` a second at most; the next one says how many were dropped.
"""

import json
import logging
import re
import sys
from collections.abc import Hashable
from time import monotonic
from typing import Literal

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from .current import CURRENT

MOST = 100
"""Lines of one kind a second, in one process."""
FORMAT = "%(asctime)s %(levelname)s [%(process)d] %(message)s"
FIELDS = ("message", "levelname", "name", "process")
NAMES = {"levelname": "level", "name": "logger", "process": "pid", "exc_info": "exception"}
HIDDEN = {*RESERVED_ATTRS, "color_message"}
"""What a record of the standard library has, and uvicorn adds: the rest is fields of the event."""
QUIET = {
    # It writes the address of each request, in which there may be values and keys.
    "httpx": logging.WARNING,
    # They repeat what a client sends.
    "opentelemetry.trace": logging.ERROR,
    # It writes the address of the collector, in which there may be a key.
    "opentelemetry.exporter": logging.CRITICAL,
}

Format = Literal["text", "json"]


class TextFormatter(logging.Formatter):
    """The message, then the fields of the event as name=value."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as its parent says
        """Return the line, without an exception."""
        fields = {name: each for name, each in vars(record).items() if name not in HIDDEN}
        told = (f" {name}={_quoted(each)}" for name, each in fields.items())
        return super().formatMessage(record) + "".join(told)


def _quoted(value: object) -> str:
    text = str(value)
    return text if re.fullmatch(r"[!-~]+", text) else json.dumps(text)


class Context(logging.Filter):
    """Names the request in each line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line through."""
        if context := CURRENT.get():
            vars(record).update(context.ids)
        return True


class PerSecond:
    """Says of things of each kind whether there is room for one more in this second."""

    def __init__(self, most: int) -> None:
        """Take for how many of a kind there is."""
        self._most = most
        self._second = 0
        self._seen: dict[Hashable, int] = {}
        self._dropped: dict[Hashable, int] = {}

    def has_room(self, kind: Hashable) -> bool:
        """Return whether there is, and take it."""
        second = int(monotonic())
        if second != self._second:
            self._second, self._seen = second, {}
        self._seen[kind] = self._seen.get(kind, 0) + 1
        if self._seen[kind] <= self._most:
            return True
        self._dropped[kind] = self._dropped.get(kind, 0) + 1
        return False

    def take_dropped(self, kind: Hashable) -> dict[str, int]:
        """Return for how many there was no room since this was asked last, as a field of a line."""
        dropped = self._dropped.pop(kind, 0)
        return {"dropped": dropped} if dropped else {}


class Bound(logging.Filter):
    """Lets some lines of each kind through in a second: a flood helps nobody."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self._lines = PerSecond(MOST)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written; in the next second, it says how many were not."""
        kind = record.name, record.levelno, str(record.msg)
        if not self._lines.has_room(kind):
            return False
        vars(record).update(self._lines.take_dropped(kind))
        return True


def start(form: Format, level: int = logging.INFO) -> None:
    """Write the log of this process to its standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        TextFormatter(FORMAT)
        if form == "text"
        else JsonFormatter(FIELDS, timestamp="time", rename_fields=NAMES, reserved_attrs=HIDDEN)
    )
    handler.addFilter(Bound())
    handler.addFilter(Context())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(least)
