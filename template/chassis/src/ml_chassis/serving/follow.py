"""Brings the model that is served from object storage into a folder, from which workers read it.

Storage may be slow or down, and its library must not be used in a process that is copied later.
So a process of its own asks it, and workers only look into the folder, as where it is one.
One worker at a time keeps that process; when it ends, another one does.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from .. import logs, registry, settings, storage
from ..errors import UserError
from ..registry import MANIFEST_FILE, MODEL_FILE, RegistryError
from ..settings import Settings
from ..storage import Root

LOGGER = logging.getLogger("model_service")
START_SECONDS = 60
LOCK, KEEPER = ".lock", ".keeper"
KEPT = 3
"""Versions that stay in the folder."""


def folder_of(settings: Settings) -> Path:
    """Return the folder that workers read: the registry itself, or what is brought from its URL."""
    if local := storage.folder(settings.models_dir):
        return local
    # A volume that is mounted may be one that others write to; what is in it of ours is not.
    own = Path(settings.cache_dir or tempfile.gettempdir()) / f"model-service-{os.getuid()}"
    of_this = hashlib.sha256(f"{settings.models_dir} {settings.alias}".encode()).hexdigest()[:12]
    return own / of_this


def prepare(settings: Settings) -> Path:
    """Bring what is served now, and return its folder; when storage is down, with what it has.

    Raises:
        RegistryError: nothing can be brought, and nothing was before.
    """
    folder = folder_of(settings)
    if storage.folder(settings.models_dir):
        return folder
    _make(folder)
    try:
        subprocess.run(
            [*_command(settings, folder), "--once"],
            stderr=subprocess.PIPE,
            text=True,
            timeout=START_SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        problem = str(error.stderr).strip()
    except subprocess.TimeoutExpired:
        problem = f"{settings.models_dir}: no answer in {START_SECONDS} seconds."
    else:
        return folder
    if not (folder / settings.alias).exists():
        raise RegistryError(problem)
    LOGGER.error("what was brought before is served: %s", problem)
    return folder


class Keeper:
    """Keeps the process that asks storage, unless another worker does; a folder needs none."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings."""
        self._needed = not storage.folder(settings.models_dir)
        self._folder = folder_of(settings)
        self._command = _command(settings, self._folder)
        self._seconds = settings.poll_seconds
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._started = float("-inf")

    def check(self) -> None:
        """Start the process where nobody has, or when it has ended; is called every second."""
        if not self._needed or (self._process and self._process.poll() is None):
            return
        self._lock = self._lock or _try_lock(self._folder / KEEPER)
        if self._lock and time.monotonic() - self._started > self._seconds:
            self._started = time.monotonic()
            # In a session of its own: Ctrl-C is for the supervisor.
            self._process = subprocess.Popen(self._command, start_new_session=True)

    def stop(self) -> None:
        """End the process, and let another worker keep one."""
        if self._process:
            self._process.terminate()
            self._process.wait()
        if self._lock:
            self._lock.close()


def bring(root: Root, name: str, folder: Path) -> None:
    """Bring what an alias or version names, and if that is damaged, what it named before.

    Damaged files are brought as they are: who loads them finds that out, and says so.

    Raises:
        RegistryError: there is no such alias or version.
        StorageError: the storage cannot be reached.
    """
    log = registry.changes(root, name)
    named = [log[0].version, *log[0].before] if log else registry.history(root, name)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for version in named:
            if _is_whole(folder, version) or _download(root, version, folder):
                break
        if log:
            storage.write(folder, name, log[0].model_dump_json().encode())
        for old in registry.versions(folder):
            if old not in named[:KEPT]:
                shutil.rmtree(folder / old)


def main(arguments: Sequence[str]) -> int:
    """Bring what is named, once or until the worker ends that started this process."""
    root, name, folder, seconds, *once = arguments
    if once:
        try:
            bring(root, name, Path(folder))
        except UserError as error:
            print(error, file=sys.stderr)
            return 1
        return 0
    logs.start(settings.read().log_format, logging.WARNING)
    _follow(root, name, Path(folder), int(seconds), os.getppid())
    return 0


def _follow(root: Root, name: str, folder: Path, seconds: int, worker: int) -> None:
    seen: list[registry.Change] | None = None
    while os.getppid() == worker:
        try:
            named = registry.changes(root, name)[:1]
            if named != seen:
                bring(root, name, folder)
                seen = named
        except UserError as error:
            LOGGER.error("the model stays as it is, and is looked for again: %s", error)
        again = time.monotonic() + seconds
        while time.monotonic() < again and os.getppid() == worker:
            time.sleep(1)


def _command(settings: Settings, folder: Path) -> list[str]:
    where = (str(settings.models_dir), settings.alias, str(folder), str(settings.poll_seconds))
    return [sys.executable, "-m", "ml_chassis.serving.follow", *where]


def _make(folder: Path) -> None:
    """Make a folder that nobody else can write to: what is in it is served."""
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, exist_ok=True)
        found = each.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise RegistryError(
                f"{each} can be changed by others: set MODEL_SERVICE_CACHE_DIR to another folder."
            )


def _is_whole(folder: Path, version: str) -> bool:
    try:
        registry.load(folder, version)
    except RegistryError:
        return False
    return True


def _download(root: Root, version: str, folder: Path) -> bool:
    """Bring a version, and return whether it is as it was registered."""
    try:
        files = {
            each: storage.read(root, f"{version}/{each}") for each in (MODEL_FILE, MANIFEST_FILE)
        }
    except FileNotFoundError as error:
        LOGGER.error("%s cannot be brought: %s", version, error)
        return False
    shutil.rmtree(folder / version, ignore_errors=True)
    storage.write_folder(folder, version, files)
    return _is_whole(folder, version)


def _try_lock(path: Path) -> IO[str] | None:
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
