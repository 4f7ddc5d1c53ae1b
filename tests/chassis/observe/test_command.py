"""`chassis observe`: the page of a service that runs, is away, wants a key."""

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from chassis import copies
from ml_chassis.errors import UserError
from ml_chassis.observe import servers
from ml_chassis.programs import answers, free_port
from prometheus import tool
from servers import Handler, running_server
from waiting import wait_for

KEY = "a-key-of-sixteen-or-more"
METRICS = """# TYPE model_service_start_time_seconds gauge
model_service_start_time_seconds{track="stable"} 1
# TYPE model_service_requests_total counter
model_service_requests_total{track="stable",route="/predict",status="200"} 5
"""


class Service(Handler):
    """One that wants a key."""

    def do_GET(self) -> None:
        known = self.headers.get("Authorization") == f"Bearer {KEY}"
        self.answer(METRICS.encode() if known else b"", 200 if known else 401)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    copies.copied(tmp_path)
    copies.edit(tmp_path / "slo.yaml", {"(?m)^job: .*": "job: service"})
    copies.chassis(tmp_path, "rules")
    return tmp_path


@contextmanager
def observing(
    project: Path, *options: str, **given: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run it; yield the process and the address of the page."""
    port = free_port()
    environment = {
        **os.environ,
        **copies.settings_of(project),
        "PYTHONUNBUFFERED": "1",
        "MODEL_SERVICE_OBSERVE_PORT": str(port),
        **given,
    }
    command = [sys.executable, "-m", "ml_chassis", "observe", *options]
    with subprocess.Popen(
        command,
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def refused(project: Path, *options: str, **given: str) -> str:
    """Return why nothing is shown."""
    with observing(project, *options, **given) as (process, _):
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in said
    return said


@pytest.mark.slow
def test_the_page_shows_a_service_that_wants_a_key_and_ends_when_it_is_told(project: Path) -> None:
    tool("prometheus")
    with (
        running_server(Service) as service,
        observing(project, "--url", service, MODEL_SERVICE_API_KEYS=KEY) as (process, url),
    ):
        wait_for(lambda: process.poll() is not None or answers(f"{url}/service"), "a page")

        def page(name: str) -> str:
            return httpx.get(f"{url}/{name}", trust_env=False).text

        started = "<figcaption><b>Time since the start</b>"
        wait_for(lambda: started in page("service"), "the service is scraped")
        assert '<h1 class="met">flight-delays: no alert fires</h1>' in page("alerts")
        for path, status in (("", 307), ("nothing", 404), ("service?hours=x", 400)):
            assert httpx.get(f"{url}/{path}", trust_env=False).status_code == status
        assert "nothing is known" not in page('drift?feature=a"b\\&hours=6')
        key = project / f"build/observe/{named(service)}/key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate()
    assert process.returncode == 0, said
    shows = f"{url} shows what it sees of {service}; stop: Ctrl-C"
    assert re.fullmatch(rf"Prometheus: http://\S+\n{shows}\n", said)
    assert not key.exists()


@pytest.mark.slow
def test_a_service_or_a_prometheus_that_is_away_is_told(project: Path) -> None:
    tool("prometheus")
    service = f"http://127.0.0.1:{free_port()}"
    with observing(project, "--url", service) as (process, url):
        wait_for(lambda: process.poll() is not None or answers(f"{url}/service"), "a page")

        def page() -> str:
            return httpx.get(f"{url}/service", trust_env=False).text

        wait_for(lambda: "is not seen: Get" in page(), "the page says why")
        assert '<h1 class="missed">flight-delays: ' in page()
        used = f"Another `make observe` uses build/observe/{named(service)}."
        assert used in refused(project, MODEL_SERVICE_PORT=service.rpartition(":")[2])
        (prometheus,) = psutil.Process(process.pid).children()
        prometheus.kill()
        said, _ = process.communicate()
    assert process.returncode == 1
    log = f"build/observe/{named(service)}/prometheus.log"
    assert f"Prometheus does not answer any more; see {log}" in said


@pytest.mark.slow
def test_what_is_known_of_a_service_is_not_shown_of_another_one(project: Path) -> None:
    tool("prometheus")
    started = "<figcaption><b>Time since the start</b>"
    copies.edit(project / "slo.yaml", {"error_share: 0.001": "error_share: 0.002"})
    with running_server(Service) as service:
        given = {"MODEL_SERVICE_API_KEYS": KEY}
        away = f"http://127.0.0.1:{free_port()}"
        with (
            observing(project, "--url", f"{service}/metrics", **given) as (_, one),
            observing(project, "--url", away, **given) as (process, other),
        ):
            wait_for(lambda: answers(f"{one}/service"), "a page")
            wait_for(lambda: answers(f"{other}/service"), "a page")

            def page(url: str) -> str:
                return httpx.get(f"{url}/service", trust_env=False).text

            wait_for(lambda: started in page(one), "the service is scraped")
            wait_for(lambda: f"{away}/metrics is not seen: Get" in page(other), "it says why")
            assert started not in page(other)
            note = "monitoring/rules.yaml is not that of slo.yaml: run `make rules`."
            assert f'<p class="note">{note}</p>' in page(other)
            where = re.search(r'Prometheus: <a href="(http://\S+)"', page(other))
            assert where
            assert answers(f"{where[1]}{servers.READY}")
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate()
    assert f"Note: {note}\n" in said


def named(service: str) -> str:
    """Return the name of the folder of a service."""
    return service.replace("://", "-").replace(":", "-")


def test_without_prometheus_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError) as raised:
        servers.find(servers.PROMETHEUS)
    for words in ("prometheus is not installed", "apt-get install", "brew install", "https://"):
        assert words in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:3000", "ftp://there", "http://", "nonsense", "http://[::1", "/"),
        *("http://localhost:99999", "http://me:secret@there", "http://there?x=1", "http://there#x"),
    ],
)
def test_what_is_no_address_is_refused(project: Path, url: str) -> None:
    said = refused(project, "--url", url)
    assert "--url: give the address of a service, such as http://localhost:3000" in said
    assert "MODEL_SERVICE_API_KEYS" in said
    assert "secret" not in said


def test_a_project_without_rules_is_told_to_write_them(project: Path) -> None:
    (project / "monitoring/rules.yaml").unlink()
    assert "There is no monitoring/rules.yaml: make rules." in refused(project)


def test_a_port_that_is_taken_is_named(project: Path) -> None:
    with running_server(Service) as other:
        said = refused(project, MODEL_SERVICE_OBSERVE_PORT=other.rpartition(":")[2])
    assert "Set another MODEL_SERVICE_OBSERVE_PORT" in said
