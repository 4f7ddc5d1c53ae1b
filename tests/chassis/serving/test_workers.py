"""Workers that die are replaced, and none outlives its supervisor."""

import os
import pty
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from prometheus_client.mmap_dict import MmapedDict

from chassis.flights import CONTRACT
from ml_chassis.testing import Service, Trained, is_ready, start_service
from waiting import wait_for

example_row = CONTRACT.example_row

pytestmark = pytest.mark.slow

BODY = {"rows": [example_row()]}


def workers(service: Service) -> list[int]:
    """Return the processes that the supervisor started."""
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def start_two(trained: Trained, home: Path) -> Service:
    """Start a service with two workers; one may answer before the other is there."""
    service = start_service(trained.models, home, MODEL_SERVICE_WORKERS="2")
    wait_for(lambda: len(workers(service)) == 2)
    return service


def count_folder(service: Service) -> Path:
    """Return the folder of the counts."""
    mapped = Path(f"/proc/{service.process.pid}/maps").read_text().splitlines()
    (folder,) = {Path(line.split()[-1]).parent for line in mapped if line.endswith(".db")}
    return folder


def counting(folder: Path) -> set[str]:
    """Return whose files are in a folder of counts."""
    return {path.stem.rpartition("_")[2] for path in folder.glob("*.db")}


ANSWERS = 'model_service_requests_total{route="/predict",status="200",track="stable"}'
"""To POST /predict."""
ENDED = 'model_service_workers_ended_total{track="stable"}'


def counted(service: Service, series: str) -> float:
    """Return what all processes together have counted."""
    lines = httpx.get(f"{service.url}/metrics").text.splitlines()
    (value,) = [float(line.split()[-1]) for line in lines if line.startswith(series)]
    return value


def test_clients_with_one_retry_see_nothing_of_killed_workers(
    trained: Trained, tmp_path: Path
) -> None:
    service = start_two(trained, tmp_path)
    stop, answered, failures = threading.Event(), [], []

    def ask() -> None:
        with httpx.Client(base_url=service.url, timeout=30) as client:
            while not stop.is_set():
                for attempt in (1, 2):
                    try:
                        answered.append(client.post("/predict", json=BODY).status_code)
                        break
                    except httpx.TransportError as error:
                        if attempt == 2:
                            failures.append(repr(error))

    def answer_more() -> None:
        enough = len(answered) + 30
        wait_for(lambda: len(answered) > enough or bool(failures))

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for _ in range(3):
        answer_more()
        before = workers(service)
        os.kill(before[0], signal.SIGKILL)
        wait_for(lambda before=before: len(set(workers(service)) - set(before)) == 1)  # type: ignore[misc]
    answer_more()
    stop.set()
    for client in clients:
        client.join()
    expected = {*map(str, [service.process.pid, *workers(service)]), "ended"}
    folder = count_folder(service)
    wait_for(lambda: counting(folder) == expected)  # a new worker makes its file when it counts
    answers, ended = counted(service, ANSWERS), counted(service, ENDED)
    service.process.terminate()

    assert failures == []
    assert set(answered) == {200}
    assert len(answered) > 100
    assert answers >= len(answered)
    assert ended == 3
    assert service.process.wait(timeout=30) == 0


def test_a_worker_that_hangs_is_replaced(trained: Trained, tmp_path: Path) -> None:
    service = start_service(trained.models, tmp_path, MODEL_SERVICE_HUNG_SECONDS="2")
    (hung,) = workers(service)
    before = counted(service, ENDED)

    os.kill(hung, signal.SIGSTOP)
    wait_for(lambda: hung not in workers(service) and is_ready(service))

    assert (before, counted(service, ENDED)) == (0, 1)
    service.process.terminate()
    assert service.process.wait(timeout=30) == 0


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_worker_that_ends_while_the_service_goes_on_is_counted_and_told(
    trained: Trained, tmp_path: Path, name: str
) -> None:
    log = tmp_path / "log"
    service = start_service(trained.models, tmp_path, log=log)
    (ended,) = workers(service)

    os.kill(ended, getattr(signal, name))
    wait_for(lambda: ended not in workers(service) and is_ready(service))

    httpx.post(f"{service.url}/predict", json=BODY).raise_for_status()
    assert counted(service, ENDED) == 1
    assert f"worker {ended} ended and is replaced" in log.read_text()
    service.process.terminate()
    assert service.process.wait(timeout=30) == 0


def test_counts_that_somebody_removes_cost_no_prediction_and_come_back(
    trained: Trained, tmp_path: Path
) -> None:
    service = start_two(trained, tmp_path)
    for _ in range(20):
        httpx.post(f"{service.url}/predict", json=BODY).raise_for_status()
    folder = count_folder(service)

    files = {path.name for path in folder.glob("*.db")}
    shutil.rmtree(folder)
    wait_for(lambda: files <= {path.name for path in folder.glob("*.db")})
    assert counted(service, ANSWERS) == 20

    shutil.rmtree(folder)
    os.kill(workers(service)[0], signal.SIGKILL)
    wait_for(lambda: len(workers(service)) == 2 and is_ready(service))
    for _ in range(20):
        httpx.post(f"{service.url}/predict", json=BODY).raise_for_status()
    expected = set(map(str, [service.process.pid, *workers(service)]))
    wait_for(lambda: expected <= counting(folder))

    assert counted(service, ENDED) == 1
    assert counted(service, ANSWERS) >= 20
    service.process.terminate()
    assert service.process.wait(timeout=30) == 0
    assert not folder.exists()


def test_a_damaged_file_of_counts_costs_no_prediction(trained: Trained, tmp_path: Path) -> None:
    service = start_service(trained.models, tmp_path)
    (worker,) = workers(service)
    file = count_folder(service) / f"counter_{worker}.db"
    file.write_bytes(b"\x7f" * file.stat().st_size)

    assert httpx.get(f"{service.url}/metrics").status_code == 503
    httpx.post(f"{service.url}/predict", json=BODY).raise_for_status()
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: worker not in workers(service) and is_ready(service))

    assert counted(service, ENDED) == 1
    service.process.terminate()
    assert service.process.wait(timeout=30) == 0


def test_workers_that_end_with_their_service_are_not_counted(
    trained: Trained, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    service = start_service(trained.models, tmp_path, log=log, MODEL_SERVICE_WORKERS="2")
    wait_for(lambda: len(workers(service)) == 2)
    file = count_folder(service) / f"counter_{service.process.pid}.db"

    with file.open("rb") as kept:  # its name is gone when the service is
        for pid in (*workers(service), service.process.pid):  # as systemd tells all
            os.kill(pid, signal.SIGTERM)
        assert service.process.wait(timeout=30) == 0
        values = MmapedDict.read_all_values_from_file(f"/proc/self/fd/{kept.fileno()}")
        assert [value for key, value, *_ in values if "workers_ended" in key] == [0]
    assert "ended and is replaced" not in log.read_text()


@pytest.mark.parametrize("name", ["SIGHUP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2", "SIGWINCH"])
def test_a_signal_changes_nothing_of_the_service(two: tuple[Service, Path], name: str) -> None:
    service, log = two
    before = workers(service)
    for pid in (*before, service.process.pid):  # as a terminal sends it to all
        os.kill(pid, getattr(signal, name))

    if name not in {"SIGUSR1", "SIGWINCH"}:
        wait_for(lambda: f"{name} does nothing here: " in log.read_text())
    for _ in range(20):  # each on a connection of its own, of which both workers get some
        httpx.post(f"{service.url}/predict", json=BODY).raise_for_status()
    assert workers(service) == before
    assert service.process.poll() is None


@pytest.fixture(scope="module")
def two(
    trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, Path]]:
    """Run a service with two workers, and say where its log is."""
    log = tmp_path_factory.mktemp("signals") / "log"
    service = start_service(trained.models, log.parent, log=log, MODEL_SERVICE_WORKERS="2")
    wait_for(lambda: len(workers(service)) == 2)
    yield service, log
    service.process.terminate()
    assert service.process.wait(timeout=30) == 0


@pytest.mark.parametrize("name", ["SIGINT", "SIGQUIT"])
def test_the_supervisor_alone_can_be_told_to_end_at_once(
    trained: Trained, tmp_path: Path, name: str
) -> None:
    log = tmp_path / "log"
    service = start_service(trained.models, tmp_path, log=log, MODEL_SERVICE_DRAIN_SECONDS="30")
    service.process.send_signal(getattr(signal, name))

    assert service.process.wait(timeout=20) == 0  # far less than the 40 after which it kills
    assert "memory" not in (said := log.read_text())
    assert "ended and is replaced" not in said


def test_a_closed_terminal_ends_it(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, inside = pty.openpty()
    monkeypatch.setattr(subprocess, "Popen", partial(subprocess.Popen, stdin=inside))
    service = start_service(trained.models, tmp_path)
    os.close(inside)
    os.close(terminal)
    service.process.send_signal(signal.SIGHUP)

    assert service.process.wait(timeout=30) == 0


def test_no_worker_outlives_its_supervisor(trained: Trained, tmp_path: Path) -> None:
    service = start_two(trained, tmp_path)
    started = workers(service)

    service.process.kill()
    service.process.wait()

    wait_for(lambda: not any(is_alive(pid) for pid in started))


def test_the_supervisor_forks_from_a_single_thread(trained: Trained, tmp_path: Path) -> None:
    service = start_service(trained.models, tmp_path)
    threads = list(Path(f"/proc/{service.process.pid}/task").iterdir())
    service.process.terminate()

    assert len(threads) == 1  # a lock that another thread held would stay locked in a worker
    assert service.process.wait(timeout=30) == 0
