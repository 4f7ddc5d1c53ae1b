"""Counts of worker processes outlive them, and no state of their folder ends a process."""

import fcntl
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from ml_chassis.monitoring import counts, metrics
from ml_chassis.monitoring.counts import STEP, Counts, CountsError

NEW_MOUNTS = ("unshare", "--mount", *(("--map-root-user",) if os.getuid() else ()))
"""Runs a command that may mount what others do not see."""


def write(folder: Path, kind: str, pid: int, name: str, value: float) -> None:
    """Write a value as a worker does."""
    file = MmapedDict(str(folder / f"{kind}_{pid}.db"))
    file.write_value(mmap_key(name, name, ["label"], ["x"], "A help text."), value, 1.0)
    file.close()


def lines() -> list[str]:
    """Return what is shown, in an order of its own."""
    shown = metrics.render("canary")[0].decode().splitlines()
    return sorted(line for line in shown if metrics.MEMORY not in line)


def test_ended_workers_are_added_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(counts.FOLDER, str(tmp_path))
    for pid in (7, 8, 9):
        write(tmp_path, "counter", pid, "rows_total", pid)
        write(tmp_path, "histogram", pid, "seconds_sum", 0.5)
        write(tmp_path, "gauge_mostrecent", pid, "share", 0.25)
    before = lines()

    counts.add_up_ended(7)
    counts.add_up_ended(8)

    assert lines() == before
    assert 'rows_total{label="x"} 24.0' in before
    assert {path.stem for path in tmp_path.glob("*.db")} == {
        *("counter_9", "histogram_9", "gauge_mostrecent_9"),
        *("counter_ended", "histogram_ended"),
    }


def test_a_process_that_holds_the_lock_for_long_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(counts.FOLDER, str(tmp_path))
    monkeypatch.setattr(counts, "LOCK_SECONDS", 0.05)
    write(tmp_path, "counter", 7, "rows_total", 7)

    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        counts.add_up_ended(7)
        with pytest.raises(CountsError):
            lines()

    assert (tmp_path / "counter_7.db").exists()
    assert 'rows_total{label="x"} 7.0' in lines()


def count(file: Counts, series: int, value: float) -> None:
    """Count as a process does: it keeps the value, and writes it."""
    key = mmap_key("rows", "rows_total", ["label"], [f"{series:04}"], "A help text.")
    file.read_value(key)
    file.write_value(key, value, 0.0)


def shown(folder: Path) -> dict[int, float]:
    """Return what the file of process 7 tells others."""
    found = MmapedDict.read_all_values_from_file(str(folder / "counter_7.db"))
    return {int(key.partition('"label": "')[2][:4]): value for key, value, *_ in found}


def test_a_file_grows_with_its_series(tmp_path: Path) -> None:
    file = Counts(str(tmp_path / "counter_7.db"))
    for series in range(500):
        count(file, series, series)
    file.close()

    assert shown(tmp_path) == {series: series for series in range(500)}


def test_without_room_series_are_counted_until_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(counts, "RETRY_SECONDS", 0)
    monkeypatch.setitem(counts._said, "at", -float("inf"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = Counts(str(tmp_path / "counter_7.db"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (STEP, limits[1]))
    try:
        for series in range(400):
            count(file, series, 1)
        for series in range(400):
            count(file, series, 2)
        without = shown(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    file.restore()  # as each second

    assert 50 < len(without) < 400
    assert set(without.values()) == {2}
    assert shown(tmp_path) == dict.fromkeys(range(400), 2)
    assert caplog.text.count("new series of this process are not in /metrics") == 1
    file.close()


def test_a_full_file_system_ends_no_process(tmp_path: Path) -> None:
    """It takes a real one: no limit of a process makes its memory fail."""
    lines = (
        "import os, pathlib",
        f"folder = pathlib.Path({str(tmp_path)!r})",
        f"os.environ[{counts.FOLDER!r}] = str(folder)",
        "from ml_chassis.monitoring import metrics",
        "metrics.publish_start()",
        "try: (folder / 'other').write_bytes(bytes(2_000_000))",
        "except OSError as error: print(error.strerror)",
        "for number in range(200): metrics.count_request(f'/{number}', 200, 0.1)",
        "print(len(metrics.render('stable')[0]) > 1_000)",
        "(folder / 'other').unlink()",
        "metrics.counts.restore()",
        """print('route="/199"' in metrics.render('stable')[0].decode())""",
    )
    command = 'mount -t tmpfs -o size=1200k tmpfs "$0" && exec "$@"'
    mounted = [*NEW_MOUNTS, "sh", "-c", command, str(tmp_path)]
    if subprocess.run([*mounted, "true"], check=False).returncode:
        pytest.skip("this user may mount nothing")
    told = subprocess.run(
        [*mounted, sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.split("\n") == ["No space left on device", "True", "True", ""]


def test_a_folder_that_somebody_removed_is_made_again_with_what_was_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(counts.FOLDER, str(tmp_path / "counts"))
    (tmp_path / "counts").mkdir()
    file = Counts(str(tmp_path / "counts" / "counter_7.db"))
    count(file, 1, 1)
    shutil.rmtree(tmp_path / "counts")
    count(file, 2, 2)
    with pytest.raises(CountsError):
        counts.read()

    counts.add_up_ended(8)
    count(file, 1, 3)
    count(file, 3, 3)

    assert shown(tmp_path / "counts") == {1: 3, 2: 2, 3: 3}
    assert 'rows_total{label="0002"} 2.0' in lines()
    file.close()


def test_a_damaged_file_of_an_ended_worker_is_told_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(counts.FOLDER, str(tmp_path))
    write(tmp_path, "counter", 7, "rows_total", 7)
    write(tmp_path, "histogram", 7, "seconds_sum", 0.5)
    (tmp_path / "counter_7.db").write_bytes(b"\x7f" * 99)
    with pytest.raises(CountsError):
        lines()

    counts.add_up_ended(7)

    assert "counter_7.db are lost" in caplog.text
    assert 'seconds_sum{label="x"} 0.5' in lines()


def test_what_cannot_be_added_up_stays_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(counts.FOLDER, str(tmp_path))
    write(tmp_path, "counter", 7, "rows_total", 7)
    write(tmp_path, "gauge_livesum", 7, "workers", 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        counts.add_up_ended(7)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert "the counts of process 7 stay apart" in caplog.text
    assert 'rows_total{label="x"} 7.0' in lines()
    assert not any("workers" in line for line in lines())
    counts.add_up_ended(7)
    assert 'rows_total{label="x"} 7.0' in lines()
