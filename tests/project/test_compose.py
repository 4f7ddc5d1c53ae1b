"""One host with Docker: what runs there, and releases of images, with real traffic."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml

from ml_chassis import slo
from ml_chassis.delivery import record
from ml_chassis.delivery.demo.stage import FASTER, LEAST_REQUESTS
from ml_chassis.delivery.demo.traffic import Traffic
from ml_chassis.monitoring import rules
from ml_chassis.monitoring.rules import release as release_rules
from ml_chassis.observe.demo.quicker import quicker
from ml_chassis.observe.prometheus import Prometheus
from ml_chassis.programs import free_port
from project.containers import Engine, build_image, images_of_others, start_engine, with_engine
from project.service import Service
from project.tools import Done, run
from render.engines import ROOT
from waiting import wait_for

IMAGE = "registry.example/team/compose"
FAULTS = {
    "errors": '["python", "-m", "ml_chassis.delivery.demo.faults", "errors"]',
    "start": '["python", "-m", "ml_chassis", "nonsense"]',
    # It is good as a canary, and does not start in the place of stable.
    "place": '["sh", "-c", "[ $MODEL_SERVICE_TRACK = canary ] && exec python -m ml_chassis serve"]',
}
"""What images run that must not come to serve."""
RELEASE = """
import sys
from ml_chassis import project
from ml_chassis.delivery.compose.release import release
from ml_chassis.delivery.demo.stage import PACE
sys.path.insert(0, "src")
sys.exit(release(project.read(), sys.argv[1], PACE))
"""
"""`chassis canary --image IMAGE`, in which a minute is two seconds."""
TAGS = ("1", "2", "moved", *FAULTS)
PORTS = ("PORT", "ENVOY_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT")
GATEWAY, SETTINGS = Path("build/compose"), Path("deploy/.env")


@dataclass(frozen=True)
class Host:
    """A project of which all runs in containers.

    Attributes:
        project: Its folder.
        env: Of its tasks.
        engine: Runs the containers.
    """

    project: Path
    env: dict[str, str]
    engine: Engine

    @property
    def service(self) -> Service:
        return Service(f"127.0.0.1:{self.env['PORT']}")

    @property
    def prometheus(self) -> Prometheus:
        return Prometheus(f"http://127.0.0.1:{self.env['PROMETHEUS_PORT']}")

    def make(self, *arguments: str) -> Done:
        return run(self.project, "make", *arguments, env=self.env)

    def up(self, *arguments: str) -> Done:
        """Run `make up`; then let Prometheus scrape each second."""
        done = self.make("up", *arguments)
        path = self.project / GATEWAY / "prometheus.yaml"
        path.write_text(path.read_text().replace("5s", "1s"))
        self.compose("kill", "--signal=HUP", "prometheus")
        return done

    def compose(self, *arguments: str) -> str:
        file = ("compose", "--file", str(self.project / "deploy/compose.yaml"))
        return Engine(self.env).docker(*file, "--profile=canary", *arguments)

    def inspect(self, name: str) -> dict[str, Any]:
        return self.engine.inspect(self.compose("ps", "--quiet", name).split()[0])

    def stable(self) -> str:
        """Return the image that stable runs."""
        return str(self.inspect("service")["Config"]["Image"])

    def release(self, tag: str) -> subprocess.Popen[str]:
        """Start to release an image."""
        return subprocess.Popen(
            [sys.executable, "-c", RELEASE, f"{IMAGE}:{tag}"],
            cwd=self.project,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def released(self, tag: str) -> str:
        """Release an image, and return what was said."""
        return self.release(tag).communicate()[0]

    def phase(self) -> str:
        known = record.read(self.project / GATEWAY)
        return known.phase if known else ""


@pytest.fixture(scope="module")
def host(
    trained_project: Path,
    env: dict[str, str],
    engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Host]:
    """Run the image of a project in which a release is quick, with images that are not good."""
    folder = tmp_path_factory.mktemp("compose") / "project"
    shutil.copytree(trained_project, folder, ignore=shutil.ignore_patterns(".venv", ".*_cache"))
    (folder / ".venv").symlink_to(trained_project / ".venv")
    (folder / SETTINGS).write_text("MODEL_SERVICE_DRAIN_SECONDS=0\n")
    quick(folder)
    _get_images(folder / "deploy/compose.yaml")
    ports = {name: str(free_port()) for name in PORTS}
    named = {"COMPOSE_PROJECT_NAME": f"compose-{ports['PORT']}"}
    found = Host(folder, {**with_engine(env, engine), **named, **ports}, engine)
    build_image(folder, {**found.env, "IMAGE": f"{IMAGE}:1"})
    for tag, command in {**FAULTS, "2": '["python", "-m", "ml_chassis", "serve"]'}.items():
        made = tmp_path_factory.mktemp(tag)
        (made / "Dockerfile").write_text(f"FROM {IMAGE}:1\nENV TAG={tag}\nCMD {command}\n")
        engine.docker("build", "--quiet", "--tag", f"{IMAGE}:{tag}", str(made))
    try:
        done = found.up(f"IMAGE={IMAGE}:1")
        assert done.returncode == 0, done.stdout
        yield found
    finally:
        found.compose("down", "--volumes")
        engine.docker("image", "rm", "--force", *(f"{IMAGE}:{tag}" for tag in TAGS))


def quick(project: Path) -> None:
    """Let a release have one step, and a minute of its rules be two seconds."""
    stated = slo.read(project / "slo.yaml")
    steps = {"weights": [50], "least_requests": LEAST_REQUESTS}
    stated = stated.model_copy(update={"release": stated.release.model_copy(update=steps)})
    (project / "slo.yaml").write_text(yaml.safe_dump(stated.model_dump(mode="json")))
    groups = [each for each in rules.rules(stated)["groups"] if each["name"] == release_rules.GROUP]
    text = yaml.safe_dump(quicker({"groups": groups}, FASTER))
    (project / "monitoring/rules.yaml").write_text(text)


def _get_images(compose: Path) -> None:
    """Get the images of others; what cannot be had is taken out, as a team may do."""
    script, state = ROOT / "tools/container-engine.sh", ROOT / ".containers"
    text = compose.read_text()
    for image in images_of_others(text):
        try:
            start_engine(script, state, [image])
        except RuntimeError:
            assert image.startswith("grafana/"), image
            whole = yaml.safe_load(text)
            del whole["services"]["grafana"], whole["volumes"]["grafana"]
            compose.write_text(yaml.safe_dump(whole, sort_keys=False))


@pytest.fixture
def asked(host: Host) -> Iterator[Traffic]:
    """Ask all the time; no request may fail, whatever a test does."""
    rows: Sequence[Any] = [SimpleNamespace(features=host.service.example_row())]
    with Traffic(f"http://{host.service.address}", rows, 100) as traffic:
        yield traffic
    assert traffic.counts.answered
    assert not traffic.counts.failed, traffic.failures


def test_all_of_it_serves_and_is_watched(host: Host) -> None:
    answer = host.service.predict([host.service.example_row()])
    assert answer.status == 200, answer.body

    job = slo.read(host.project / "slo.yaml").job

    def watched() -> set[str]:
        return {each.labels["job"] for each in host.prometheus.ask("up == 1")}

    wait_for(lambda: watched() == {job, f"{job}-gateway"}, "Prometheus scrapes both")
    (track,) = host.prometheus.ask("model_service_start_time_seconds")
    assert track.labels["track"] == "stable"
    assert track.labels["instance"] == host.inspect("service")["Id"][:12]
    url = f"http://127.0.0.1:{host.env['PROMETHEUS_PORT']}/api/v1/alertmanagers"

    def told() -> list[str]:
        active = httpx.get(url, trust_env=False).json()["data"]["activeAlertmanagers"]
        return [each["url"] for each in active]

    there = ["http://alertmanager:9093/api/v2/alerts"]
    wait_for(lambda: told() == there, "Prometheus knows Alertmanager")


def test_each_container_is_hardened_bounded_and_for_this_host_alone(host: Host) -> None:
    running = host.compose("ps", "--quiet").split()
    assert len(running) >= 4
    for each in map(host.engine.inspect, running):
        name, given = each["Name"], each["HostConfig"]
        assert each["State"]["Health"]["Status"] == "healthy", name
        assert given["ReadonlyRootfs"], name
        assert given["CapDrop"] == ["ALL"], name
        assert given["SecurityOpt"] == ["no-new-privileges:true"], name
        assert each["Config"]["User"].split(":")[0] not in {"", "0", "root"}, name
        assert 0 < given["Memory"] <= 2**29, name
        assert given["NanoCpus"] > 0, name
        assert given["PidsLimit"] > 0, name
        assert given["RestartPolicy"]["Name"] == "unless-stopped", name
        assert given["LogConfig"]["Type"] == "local", name
        published = [port for ports in given["PortBindings"].values() for port in ports]
        assert all(port["HostIp"] == "127.0.0.1" for port in published), name


def test_nobody_can_change_envoy_by_its_administration(host: Host) -> None:
    admin = f"http://127.0.0.1:{host.env['ENVOY_PORT']}"
    assert httpx.get(f"{admin}/ready", trust_env=False).status_code == 200
    for path in ("quitquitquit", "runtime_modify?a=b", "config_dump"):
        assert httpx.post(f"{admin}/{path}", trust_env=False).status_code == 403


def test_grafana_shows_the_dashboards(host: Host) -> None:
    if "grafana" not in host.compose("config", "--services").split():
        pytest.skip("GRAFANA IS NOT TESTED: no registry gives its image")
    url = f"http://127.0.0.1:{host.env['GRAFANA_PORT']}/api"
    found = httpx.get(f"{url}/search", params={"type": "dash-db"}, trust_env=False).json()
    assert len(found) == len([*(host.project / "monitoring/dashboards").iterdir()])
    (source,) = httpx.get(f"{url}/datasources", trust_env=False).json()
    assert source["uid"] == "prometheus"


def test_what_runs_is_left_alone_and_what_is_changed_is_started_anew(
    host: Host, asked: Traffic
) -> None:
    before = host.inspect("service")["Id"]
    done = host.up()
    assert (done.returncode, "started anew" in done.stdout) == (0, False), done.stdout
    assert host.inspect("service")["Id"] == before
    settings = host.project / SETTINGS
    given = settings.read_text()
    try:
        settings.write_text(
            f"{given}MODEL_SERVICE_BROKER_URL='redis://me:pa$word@host'\nMODEL_SERVICE_PORT=4\n"
        )
        assert host.up().returncode == 0
        assert host.inspect("service")["Id"] != before
        said = host.compose("exec", "service", "printenv", "MODEL_SERVICE_BROKER_URL")
        assert said == "redis://me:pa$word@host"

        settings.write_text(f"{given}MODEL_SERVICE_WORKERS=none\nMODEL_SERVICE_PORT=4000\n")
        done = host.up()
        assert (done.returncode, "MODEL_SERVICE_WORKERS" in done.stdout) == (2, True), done.stdout
    finally:
        settings.write_text(given)
    assert host.up().returncode == 0
    assert host.stable() == f"{IMAGE}:1"
    assert asked.counts.answered


def test_an_image_that_errs_or_does_not_start_is_rolled_back(host: Host, asked: Traffic) -> None:
    said = host.released("errors")
    assert "Rolled back: errors." in said, said
    assert "degraded" not in said
    said = host.released("start")
    assert "Rolled back: start, " in said, said
    assert "nonsense" in said, said  # as its log says
    assert not host.compose("ps", "--all", "--quiet", "canary")
    assert host.stable() == f"{IMAGE}:1"
    assert asked.counts.answered


def test_an_image_is_promoted_also_when_its_controller_is_killed_meanwhile(
    host: Host, asked: Traffic
) -> None:
    first = host.release("2")
    wait_for(lambda: host.phase() == "stepping", "the canary gets requests")
    done = host.make("up")
    assert (done.returncode, "is under way" in done.stdout) == (2, True), done.stdout
    wait_for(lambda: host.phase() == "promoting", "it is promoted")
    first.send_signal(signal.SIGKILL)
    first.wait()
    host.compose("stop", "prometheus")
    done = host.make("up")  # which starts what the release needs
    assert (done.returncode, "has not ended" in done.stdout) == (2, True), done.stdout
    said = host.released("2")
    assert f"{IMAGE}:2 was promoted" in said, said
    assert host.stable() == f"{IMAGE}:2"
    assert not host.compose("ps", "--all", "--quiet", "canary")

    said = host.released("2")
    assert "is what stable runs already" in said
    assert host.up().returncode == 0  # that one, though the file names another
    assert host.stable() == f"{IMAGE}:2"
    assert asked.counts.answered


def test_an_image_whose_name_has_another_meaning_meanwhile_is_not_promoted(
    host: Host, asked: Traffic
) -> None:
    before = host.stable()
    host.engine.docker("tag", f"{IMAGE}:1", f"{IMAGE}:moved")
    released = host.release("moved")
    wait_for(lambda: host.phase() == "stepping", "the canary gets requests")
    host.engine.docker("tag", f"{IMAGE}:errors", f"{IMAGE}:moved")
    assert host.make("canary", "DO=promote").returncode == 0
    said = released.communicate()[0]
    assert "names another image since the release began" in said, said
    assert host.stable() == before
    assert asked.counts.answered


def test_another_image_is_put_there_at_once_and_taken_back_where_it_does_not_start(
    host: Host, asked: Traffic
) -> None:
    assert host.up(f"IMAGE={IMAGE}:1").returncode == 0
    assert host.stable() == f"{IMAGE}:1"
    done = host.up(f"IMAGE={IMAGE}:place")
    assert (done.returncode, "Not all of it runs" in done.stdout) == (2, True), done.stdout
    assert host.stable() == f"{IMAGE}:1"
    assert asked.counts.answered


def test_a_start_that_is_killed_while_stable_is_replaced_is_done_again(
    host: Host, asked: Traffic
) -> None:
    routes = host.project / GATEWAY / "discovered" / "routes.json"
    command = ["make", "up", f"IMAGE={IMAGE}:2"]
    with (host.project / "said").open("w") as said:
        first = subprocess.Popen(
            command, cwd=host.project, env=host.env, stdout=said, start_new_session=True
        )
    wait_for(lambda: '"stable"' not in routes.read_text(), "the canary answers")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    done = host.up(f"IMAGE={IMAGE}:1")
    assert done.returncode == 0, done.stdout
    assert host.stable() == f"{IMAGE}:1"
    assert not host.compose("ps", "--all", "--quiet", "canary")
    assert '"stable"' in routes.read_text()
    assert asked.counts.answered


def test_a_container_that_starts_again_elsewhere_is_found(host: Host) -> None:
    address = host.inspect("service")["NetworkSettings"]["Networks"]
    (network,) = address
    host.compose("stop", "service")
    other = ("--network", network, f"{IMAGE}:1", "sleep", "600")
    with host.engine.container(*other):  # it has taken the address
        host.compose("start", "service")
        now = host.inspect("service")["NetworkSettings"]["Networks"][network]["IPAddress"]
        assert now != address[network]["IPAddress"]
        wait_for(host.service.is_ready, "Envoy has found it")
        assert host.service.predict([host.service.example_row()]).status == 200


def test_a_release_that_is_told_to_end_leaves_no_canary(host: Host, asked: Traffic) -> None:
    command = ["make", "canary", f"IMAGE={IMAGE}:2"]
    with (host.project / "said").open("w") as said:
        first = subprocess.Popen(
            command, cwd=host.project, env=host.env, stdout=said, start_new_session=True
        )
    wait_for(lambda: host.phase() == "stepping", "the canary gets requests")
    os.killpg(first.pid, signal.SIGTERM)
    first.wait()

    def is_gone() -> bool:
        return not host.compose("ps", "--all", "--quiet", "canary")

    wait_for(is_gone, "the canary is taken away")
    done = host.make("canary", "DO=abort")
    assert "Stable answers all requests" in done.stdout, done.stdout
    assert asked.counts.answered


def test_what_cannot_be_released_is_told(host: Host) -> None:
    for image, told in (
        (f"{IMAGE}:none", f"{IMAGE}:none: "),
        (host.stable(), "is what stable runs already"),
    ):
        done = host.make("canary", f"IMAGE={image}")
        assert (done.returncode, told in done.stdout) == (2, True), done.stdout
        assert "Traceback" not in done.stdout
    done = host.make("canary", "DO=hold")
    assert (done.returncode, "No release is under way" in done.stdout) == (2, True), done.stdout
    without = {**host.env, "PATH": re.sub(r"[^:]*engine/usr/bin:", "", host.env["PATH"])}
    if not shutil.which("docker", path=without["PATH"]):
        done = run(host.project, "make", "up", env=without)
        assert (done.returncode, "Docker is not installed" in done.stdout) == (2, True), done.stdout


def test_all_of_it_is_stopped_and_says_how_it_is_started_again(host: Host) -> None:
    stable = host.stable()
    done = host.make("down")
    assert (done.returncode, f"make up IMAGE={stable}" in done.stdout) == (0, True), done.stdout
    assert not host.compose("ps", "--quiet")
    done = host.make("canary", f"IMAGE={IMAGE}:2")
    assert (done.returncode, "There is no gateway" in done.stdout) == (2, True), done.stdout
