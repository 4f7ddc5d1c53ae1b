"""What worker processes count, in files of a folder, which any of them adds up for /metrics.

The metrics library maps files into memory whose pages the system gives out when they are first
written. Where it has none left, as in a full /dev/shm, it ends the process with SIGBUS. Here, each
page is taken before it is mapped; what finds no room is counted in the process until there is some.
"""

import fcntl
import logging
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry, values
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.values import MultiProcessValue

LOGGER = logging.getLogger("model_service")
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Variable that names the folder in which worker processes share their counts."""
STEP = 16_384
"""Bytes by which a file grows."""
BESIDE_KEY = 28
"""Bytes that a series takes beside its key, at most: a length, padding, a value and its time."""
LOCK_SECONDS = 2
"""A process that was stopped may hold the lock, and must not stop the others."""
RETRY_SECONDS, SAY_SECONDS = 1, 60
_PAIR = struct.Struct("dd")
_OPEN: set["Counts"] = set()
"""Those of this process."""


class CountsError(Exception):
    """The counts cannot be read."""


def share() -> None:
    """Let all metrics of this process, and of those that it forks, be counted in the folder."""
    # By default each count asks the system for the process id, which costs more than the count.
    process = {"id": os.getpid()}
    os.register_at_fork(after_in_child=lambda: process.update(id=os.getpid()))
    vars(values)["MmapedDict"] = Counts
    values.ValueClass = MultiProcessValue(lambda: process["id"])


def read() -> list[Metric]:
    """Return what all processes have counted.

    Raises:
        CountsError: the folder is gone, a file in it is damaged, or another process holds the
            counts for long.
    """
    try:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        with _alone(Path(os.environ[FOLDER])):
            return list(registry.collect())
    except Exception as error:  # of a damaged file: any
        raise CountsError(_why(error)) from error


def restore() -> None:
    """Write files of this process again that somebody has removed, with what they counted."""
    for each in list(_OPEN):
        each.restore()


def add_up_ended(pid: int) -> None:
    """Add what a worker that ended has counted to what all of them have.

    Its own files would stay, and fill the memory if workers went on dying. Where their sum cannot
    be written, they do stay, and count on.
    """
    try:
        restore()
        folder = Path(os.environ[FOLDER])
        with _alone(folder):
            for path in folder.glob(f"gauge_*_{pid}.db"):  # those tell of workers that live
                path.unlink()
            for path in folder.glob(f"*_{pid}.db"):
                _add_up(path, folder / f"{path.name.partition('_')[0]}_ended.db")
    except Exception as error:  # of a damaged file: any; the supervisor must go on
        LOGGER.warning("the counts of process %d stay apart: %s", pid, _why(error))


def _add_up(path: Path, ended: Path) -> None:
    try:
        counted = list(MmapedDict.read_all_values_from_file(str(path)))
    except Exception as error:  # while it is there, nothing can be shown
        LOGGER.warning("the counts in %s are lost: it is damaged: %s", path.name, _why(error))
    else:
        _add(ended, [(key, value) for key, value, *_ in counted])
    path.unlink()


def _add(path: Path, counted: Iterable[tuple[str, float]]) -> None:
    sums: Any = _Reserved(str(path))
    try:
        before = {key: sums.read_value(key)[0] for key, _ in counted}  # takes room for all of them
        for key, value in counted:
            sums.write_value(key, before[key] + value, 0.0)
    finally:
        sums.close()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let no other process read the counts while they are moved: none must be missing or double.

    Raises:
        TimeoutError: another process holds the lock for long.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    with (folder / "lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError("another process holds their lock") from None
                time.sleep(0.005)
        yield


class _Reserved(MmapedDict):
    """A file of the metrics library that is as long as the room it has.

    Raises:
        OSError: there is no room, in each method.
    """

    _f: Any
    _m: Any

    def __init__(self, filename: str) -> None:
        path = Path(filename)
        if not path.exists():
            _write(path, bytes(STEP))
        super().__init__(filename)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        needed = self._used + len(key.encode()) + BESIDE_KEY
        if needed > self._capacity:
            capacity = -(-needed // STEP) * STEP
            _extend(self._f.fileno(), capacity)
            self._m = mmap.mmap(self._f.fileno(), capacity)
            self._capacity = capacity
        super()._init_value(key)  # type: ignore[no-untyped-call]


class Counts(_Reserved):
    """A file of this process, in which to count never fails.

    A series without room waits in the process: its value is whole when it is written at last.
    """

    def __init__(self, filename: str) -> None:
        """Make the file, as soon as there is room for it."""
        self._fname, self._f, self._m = filename, None, None
        self._positions: dict[str, int] = {}
        self._waiting: dict[str, tuple[float, float]] = {}
        self._lock = Lock()
        self._again = -float("inf")
        self._try(self._place)
        _OPEN.add(self)

    def read_value(self, key: str) -> tuple[float, float]:
        """Return the value of a series, and its time."""
        if key not in self._positions and key not in self._waiting:
            self._begin(key, 0.0, 0.0)
        position = self._positions.get(key)
        pair: tuple[float, float] = (
            self._waiting.get(key, (0.0, 0.0))
            if position is None
            else _PAIR.unpack_from(self._m, position)
        )
        return pair

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Set the value of a series, and its time."""
        position = self._positions.get(key)
        if position is None:
            self._begin(key, value, timestamp)
        else:
            self._m[position : position + 16] = _PAIR.pack(value, timestamp)

    def restore(self) -> None:
        """Write the file again if somebody has removed it, and what waits for room."""
        self._try(self._write_again)

    def close(self) -> None:
        """Let go of the file."""
        _OPEN.discard(self)
        super().close()  # type: ignore[no-untyped-call]

    def _begin(self, key: str, value: float, timestamp: float) -> None:
        with self._lock:
            self._waiting[key] = value, timestamp
        if time.monotonic() >= self._again:  # not with each count
            self._try(self._place)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            with self._lock:
                step()
        except Exception as error:  # a prediction matters more than its count
            self._again = time.monotonic() + RETRY_SECONDS
            _say(self._fname, error)

    def _place(self) -> None:
        if self._m is None:
            super().__init__(self._fname)
        for key, pair in list(self._waiting.items()):
            if key not in self._positions:  # else another thread has been quicker
                self._init_value(key)
            position = self._positions[key]
            self._m[position : position + 16] = _PAIR.pack(*pair)
            del self._waiting[key]

    def _write_again(self) -> None:
        path = Path(self._fname)
        if self._m is not None and not path.exists():
            _write(path, self._m[:])
            self._f = path.open("a+b")
            self._m = mmap.mmap(self._f.fileno(), self._capacity)
        self._place()


def _write(path: Path, content: bytes) -> None:
    """Make a file, whole or not at all: others read what is in its folder."""
    path.parent.mkdir(0o700, exist_ok=True)
    new = path.with_suffix(".new")
    try:
        new.write_bytes(content)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _extend(file: int, size: int) -> None:
    while (missing := size - os.fstat(file).st_size) > 0:
        os.write(file, bytes(missing))


_said = {"at": -float("inf")}


def _say(name: str, error: Exception) -> None:
    if time.monotonic() - _said["at"] > SAY_SECONDS:
        _said["at"] = time.monotonic()
        LOGGER.error(
            "new series of this process are not in /metrics until %s can be written: %s",
            *(name, _why(error)),
        )


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"{type(error).__name__}: {error}"
