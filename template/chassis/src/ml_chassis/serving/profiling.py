"""A CPU profile of a worker while it serves: `kill -USR1 PID`, and a page to open in a browser.

The statistical profiler looks at the event loop a thousand times a second and costs a few per cent,
while it runs.
"""

import asyncio
import logging
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import missing
from ..settings import PREFIX, Settings, SettingsError

if TYPE_CHECKING:
    from pyinstrument import Profiler

LOGGER = logging.getLogger("model_service")
INTERVAL_SECONDS = 0.001


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
        self._profiler = Profiler(INTERVAL_SECONDS, async_mode="disabled")
        self._profiler.start()
        asyncio.get_running_loop().call_later(self._seconds, self._end)

    def _end(self) -> None:
        profiler, self._profiler = self._profiler, None
        if profiler:
            profiler.stop()
            asyncio.get_running_loop().run_in_executor(None, self._write, profiler)

    def _write(self, profiler: "Profiler") -> None:
        assert self._folder  # noqa: S101 - else nothing was begun
        name = f"profile-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
        try:
            unfinished = self._folder / f".{name}"
            unfinished.write_text(profiler.output_html(), encoding="utf-8")
            unfinished.rename(self._folder / f"{name}.html")
        except OSError as error:
            LOGGER.error("the profile is lost: %s: %s", self._folder, error.strerror)
        else:
            LOGGER.info("the profile is in %s", self._folder / f"{name}.html")


def _require(folder: Path) -> None:
    try:
        import pyinstrument  # noqa: F401
    except ModuleNotFoundError as error:
        raise SettingsError(f"{PREFIX}PROFILES_DIR: {missing(error, 'profiling')}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"{PREFIX}PROFILES_DIR: {folder} is no folder that can be written to.")
