"""A CPU profile of a worker while it serves: `kill -USR1 PID`, and a page to open in a browser.

A statistical profiler looks at the event loop two thousand times at most, whatever the profile
takes: more would take memory that a container may not have. It looks when something runs; while
the loop waits it does not, and the wait is the loop's own time in the page.
"""

import asyncio
import logging
import os
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..settings import PREFIX, Settings, SettingsError, needing

if TYPE_CHECKING:
    from pyinstrument import Profiler

LOGGER = logging.getLogger("model_service")
SAMPLES = 2_000


class Profiles:
    """Makes the profiles of one worker, one at a time."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; without a folder for profiles, the signal does nothing.

        Raises:
            SettingsError: the folder is not there, cannot be written to, or the library is not
                installed.
        """
        self._folder = Path(settings.profiles_dir) if settings.profiles_dir else None
        self._seconds = settings.profile_seconds
        self._profiler: Profiler | None = None
        if self._folder:
            _require(self._folder)

    def install(self) -> None:
        """Begin one at each signal; in the thread of the event loop, which alone is profiled."""
        if self._folder:
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._begin)

    def _begin(self) -> None:
        from pyinstrument import Profiler

        if self._profiler:
            LOGGER.warning("a profile is being made; wait for it")
            return
        LOGGER.info("a profile of %d s begins", self._seconds)
        profiler = Profiler(self._seconds / SAMPLES, async_mode="disabled")
        profiler.start()
        self._profiler = profiler
        loop = asyncio.get_running_loop()
        loop.call_later(self._seconds, lambda: loop.create_task(self.end()))

    async def end(self) -> None:
        """Write what has been found, if a profile is being made."""
        profiler, self._profiler = self._profiler, None
        if profiler:
            profiler.stop()
            await asyncio.to_thread(self._write, profiler)

    def _write(self, profiler: "Profiler") -> None:
        assert self._folder  # noqa: S101 - else nothing was begun
        name = f"profile-{datetime.now(UTC):%Y%m%dT%H%M%S}-{socket.gethostname()}-{os.getpid()}"
        page, unfinished = self._folder / f"{name}.html", self._folder / f".{name}"
        try:
            unfinished.write_text(profiler.output_html(), encoding="utf-8")
            unfinished.rename(page)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            LOGGER.error("the profile is lost: %s: %s", self._folder, error.strerror)
        else:
            LOGGER.info("the profile is in %s", page)


def _require(folder: Path) -> None:
    with needing("PROFILES_DIR", "profiling"):
        import pyinstrument  # noqa: F401
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"{PREFIX}PROFILES_DIR: {folder} is no folder that can be written to.")
