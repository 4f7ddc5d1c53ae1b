"""A retraining runs here, or others are asked for it; a refusal is told without the token."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from chassis.retrainer.interface import TOKEN, Interface, running_interface
from ml_chassis.retrainer import runners
from ml_chassis.retrainer.runners import CronJob, End, Here, NotAskedError, Repository, runner_of
from ml_chassis.settings import SettingsError
from ml_chassis.training import RETRAINING, retrain
from waiting import wait_for

DISPATCHES = "/repos/team/flights/dispatches"
NAMESPACE = "/apis/batch/v1/namespaces/ml"
BY = "alert Drift"
RESULT = """
mkdir -p build/retraining
cat > build/retraining/result.json <<END
{"outcome": "OUTCOME", "reason": "as tested", "who": "$WHO",
 "started_at": "$(date -u +%FT%T.%NZ)", "gates": []}
END
"""


def run(runner: runners.Runner, by: str = BY) -> End:
    return asyncio.run(runner.run(by))


# ---- where


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("", Here),
        (f"https://api.github.com{DISPATCHES}", Repository),
        (f"https://github.example.com/api/v3{DISPATCHES}", Repository),
        (f"https://kubernetes.default.svc{NAMESPACE}/cronjobs/retrain", CronJob),
        (f"https://10.0.0.1:6443/k8s/clusters/c-1{NAMESPACE}/cronjobs/retrain", CronJob),
    ],
)
def test_the_address_says_where(url: str, kind: type) -> None:
    assert type(runner_of(url, 4)) is kind


@pytest.mark.parametrize(
    "url",
    [
        *("here", f"http://api.github.com{DISPATCHES}", "https://api.github.com/repos/team"),
        f"https://user:password@api.github.com{DISPATCHES}",
        f"https://a:b{DISPATCHES}",
        f"https://api.github.com{DISPATCHES}?x=1",
        f"https://kubernetes.default.svc{NAMESPACE}/jobs/retrain",
    ],
)
def test_another_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="MODEL_SERVICE_RETRAIN_URL: give https://api.github"):
        runner_of(url, 4)


# ---- here


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file that is run in the place of `chassis retrain`, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runners, "COMMAND", ("sh", "retrain.sh"))
    monkeypatch.setattr(runners, "STOP_SECONDS", 0.2)
    return tmp_path / "retrain.sh"


def test_the_result_is_looked_for_where_it_is_written() -> None:
    assert retrain.FOLDER == RETRAINING


@pytest.mark.parametrize(
    ("outcome", "code"), [("promoted", 0), ("nothing_new", 0), ("refused", 3), ("failed", 1)]
)
def test_what_the_retraining_says_is_what_came_of_it(script: Path, outcome: str, code: int) -> None:
    script.write_text(RESULT.replace("OUTCOME", outcome) + f"exit {code}")
    assert run(Here(60)) == (outcome, "as tested")


def test_the_result_of_another_retraining_is_not_its_own(script: Path) -> None:
    script.write_text(RESULT.replace("OUTCOME", "promoted"))
    assert run(Here(60), "somebody") == ("promoted", "as tested")
    script.write_text("exit 0")
    assert run(Here(60)) == ("declined", "another retraining runs, which no alert began")
    assert run(Here(60), "somebody").outcome == "declined"  # that was the one before
    script.write_text(RESULT.replace("OUTCOME", "promoted").replace("$WHO", "the schedule"))
    assert run(Here(60)).outcome == "declined"


def test_one_that_says_nothing_has_failed(script: Path) -> None:
    script.write_text("exit 7")
    assert run(Here(60)) == ("failed", "it ended with exit code 7; its output says why")


@pytest.mark.parametrize(("code", "name"), [("kill -9 $$", "SIGKILL"), ("exit 143", "SIGTERM")])
def test_one_that_others_end_is_told_apart(script: Path, code: str, name: str) -> None:
    script.write_text(RESULT.replace("OUTCOME", "failed") + code)
    assert run(Here(60)) == ("killed", f"it was ended by {name}, not by the retrainer")


STUBBORN = "trap '' TERM; sleep 600 & echo $$ $! > new; mv new begun; wait; sleep 600"


def is_gone(pid: int) -> bool:
    """Return whether a process has ended, though nobody may have waited for it."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def assert_gone(folder: Path) -> None:
    """Fail unless it and what it started are gone, or nobody has waited for them."""
    pids = [int(pid) for pid in (folder / "begun").read_text().split()]
    assert len(pids) == 2
    try:
        wait_for(lambda: all(map(is_gone, pids)), "it and what it started are gone")
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_one_that_takes_too_long_is_ended_with_all_that_it_started(
    script: Path,
) -> None:
    script.write_text(STUBBORN)
    hours = 0.0005
    while True:
        reason = f"it took longer than maximum_hours in training.toml, {hours:g}"
        assert run(Here(3_600 * hours)) == ("killed", reason)
        if (script.parent / "begun").exists():
            break
        hours *= 2  # on a slow machine it has not begun by then
    assert_gone(script.parent)


@pytest.mark.parametrize("times", [1, 2], ids=["once", "again while it is ended"])
def test_one_that_is_cancelled_leaves_nothing_running(
    script: Path, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.write_text(STUBBORN)
    if times > 1:  # it waits for the process that it has told to end
        monkeypatch.setattr(runners, "STOP_SECONDS", 600)

    async def cancel() -> None:
        task = asyncio.create_task(Here(600).run(BY))
        await asyncio.to_thread(wait_for, (script.parent / "begun").exists)
        task.cancel()
        while times > 1 and not task.done():
            await asyncio.sleep(0.01)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert_gone(script.parent)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot tell a child")
def test_one_whose_retrainer_is_killed_ends(script: Path) -> None:
    script.write_text("echo $$ > new; mv new begun; exec sleep 600")
    code = (
        "import asyncio; from ml_chassis.retrainer import runners;"
        f"runners.COMMAND = {runners.COMMAND!r}; asyncio.run(runners.Here(600).run('alert Drift'))"
    )
    retrainer = subprocess.Popen([sys.executable, "-c", code])
    begun = script.parent / "begun"
    wait_for(begun.exists)

    retrainer.kill()
    retrainer.wait()

    wait_for(lambda: is_gone(int(begun.read_text())), "it has ended")


# ---- others


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interface]:
    with running_interface(tmp_path_factory.mktemp("interface")) as running:
        yield running


@pytest.fixture
def interface(server: Interface, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Interface:
    """Return one that was not asked yet, whose token and certificates are where they are sought."""
    server.asked.clear()
    server.answers.clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificates))
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.setattr(runners, "SERVICE_ACCOUNT", tmp_path)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "ca.crt").write_bytes(server.certificates.read_bytes())
    return server


def test_github_is_asked_to_run_the_workflow(interface: Interface) -> None:
    interface.answers[f"POST {DISPATCHES}"] = (204, None)

    assert run(runner_of(interface.url + DISPATCHES, 4)).outcome == "asked"

    body = {"event_type": "retrain", "client_payload": {"by": BY}}
    assert interface.asked == [("POST", DISPATCHES, f"Bearer {TOKEN}", body)]


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (404, {"message": "Not Found"}, "127.0.0.1 answered 404: Not Found"),
        (401, {"message": f"Bad token {TOKEN}"}, r"answered 401: Bad token \*\*\*"),
        (302, None, "answered 302: it says no more"),
        (500, [1], "answered 500"),
    ],
)
def test_what_github_refuses_is_told(
    interface: Interface, status: int, answer: Any, told: str
) -> None:
    interface.answers[f"POST {DISPATCHES}"] = (status, answer)
    with pytest.raises(NotAskedError, match=told) as refused:
        run(runner_of(interface.url + DISPATCHES, 4))
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("token", ["", f"{TOKEN}\nX-Other: 1", "sécret", "two words"])
def test_a_token_that_is_none_is_not_sent(
    interface: Interface, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", token)
    with pytest.raises(NotAskedError, match="GITHUB_TOKEN") as refused:
        run(runner_of(interface.url + DISPATCHES, 4))
    assert not token or token not in str(refused.value)
    assert interface.asked == []


def test_who_has_another_certificate_gets_no_token(
    interface: Interface, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(NotAskedError, match="127.0.0.1: ConnectError: .*certificate"):
        run(runner_of(interface.url + DISPATCHES, 4))
    assert interface.asked == []


def cron_job() -> dict[str, Any]:
    container = {
        "name": "retrain",
        "image": "flights-training:1",
        "env": [{"name": "WHO", "value": "the schedule"}, {"name": "LEVEL", "value": "info"}],
    }
    pod = {"spec": {"containers": [container], "restartPolicy": "Never"}}
    template = {"metadata": {"labels": {"app": "flights"}}, "spec": {"template": pod}}
    return {
        "metadata": {"name": "retrain", "uid": "1-2-3"},
        "spec": {"schedule": "0 4 * * 1", "jobTemplate": template},
        "status": {},
    }


def test_kubernetes_makes_the_job_that_the_schedule_would(interface: Interface) -> None:
    interface.answers[f"GET {NAMESPACE}/cronjobs/retrain"] = (200, cron_job())
    interface.answers[f"POST {NAMESPACE}/jobs"] = (201, {})

    end = run(runner_of(f"{interface.url}{NAMESPACE}/cronjobs/retrain", 0.5))

    _, (_, _, authorization, job) = interface.asked
    assert authorization == f"Bearer {TOKEN}"
    assert end == ("asked", f"the Job {job['metadata']['name']} runs")
    assert job["metadata"]["name"].startswith("retrain-")
    assert job["metadata"]["labels"] == {"app": "flights"}
    assert [each["uid"] for each in job["metadata"]["ownerReferences"]] == ["1-2-3"]
    assert job["spec"]["activeDeadlineSeconds"] == 1_800
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "flights-training:1"
    assert {each["name"]: each["value"] for each in container["env"]} == {
        "WHO": BY,
        "LEVEL": "info",
    }


def test_the_job_is_one_that_kubernetes_accepts(interface: Interface) -> None:
    from kubernetes_validate import validate

    interface.answers[f"GET {NAMESPACE}/cronjobs/retrain"] = (200, cron_job())
    interface.answers[f"POST {NAMESPACE}/jobs"] = (201, {})
    run(runner_of(f"{interface.url}{NAMESPACE}/cronjobs/retrain", 4))

    validate(interface.asked[1].body, "1.31", strict=True)


def test_beside_a_job_of_the_schedule_none_is_made(interface: Interface) -> None:
    running = {**cron_job(), "status": {"active": [{"kind": "Job", "name": "retrain-1"}]}}
    interface.answers[f"GET {NAMESPACE}/cronjobs/retrain"] = (200, running)

    assert run(runner_of(f"{interface.url}{NAMESPACE}/cronjobs/retrain", 4)).outcome == "declined"
    assert [each.method for each in interface.asked] == ["GET"]


@pytest.mark.parametrize(
    ("path", "answer", "told"),
    [
        ("GET {}/cronjobs/retrain", (403, {"message": "cronjobs is forbidden"}), "403: cronjobs"),
        ("GET {}/cronjobs/retrain", (200, {"kind": "Status"}), "about retrain is no CronJob"),
        ("POST {}/jobs", (403, {"message": "jobs is forbidden"}), "403: jobs is forbidden"),
    ],
)
def test_what_kubernetes_refuses_is_told(
    interface: Interface, path: str, answer: tuple[int, Any], told: str
) -> None:
    interface.answers[f"GET {NAMESPACE}/cronjobs/retrain"] = (200, cron_job())
    interface.answers[path.format(NAMESPACE)] = answer
    with pytest.raises(NotAskedError, match=told):
        run(runner_of(f"{interface.url}{NAMESPACE}/cronjobs/retrain", 4))


def test_outside_of_a_pod_it_says_so(interface: Interface, tmp_path: Path) -> None:
    (tmp_path / "token").unlink()
    with pytest.raises(NotAskedError, match="no pod with a service account"):
        run(runner_of(f"{interface.url}{NAMESPACE}/cronjobs/retrain", 4))
