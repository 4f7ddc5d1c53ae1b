"""A failure, drift, a retraining and the recovery, as `make observe DEMO=yes` plays them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import httpx
import polars as pl
import psutil
import pytest

from browser import look
from chassis import copies
from ml_chassis import registry, slo
from ml_chassis.monitoring import panels
from ml_chassis.programs import answers, free_port
from prometheus import tool
from waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # minutes, as it plays what takes days

ROWS = 3_000
TRAINING = f"""{copies.TRAINING}[fallback]
group_by = "carrier"
[evaluation]
slices = ["origin"]
[decision]
action = "warn the passengers"
unit = "USD"
true_positive = 20
false_positive = -5
false_negative = 0
true_negative = 0
{copies.GATES}"""
PARTS = re.compile(r"^\[(\d)/6\] (.*)", re.MULTILINE)
TOLD = re.compile(r"^ +\d+:\d\d  (\w+): (\w+)(?: (\w+))? (fires|has ended)", re.MULTILINE)
PHONE = 360


class Played(NamedTuple):
    """What is left of the story.

    Attributes:
        folder: Of the project.
        said: By the command.
        live: A page while it went on.
        before: Files of the project before, by their path.
    """

    folder: Path
    said: str
    live: str
    before: dict[str, bytes]

    @property
    def copy(self) -> Path:
        return self.folder / "build/observe/demo"

    @property
    def page(self) -> str:
        return (self.folder / "build/observe/story.html").read_text(encoding="utf-8")

    def told(self) -> list[tuple[str, ...]]:
        """Return who was told of which alert, and whether it fired or ended."""
        return TOLD.findall(self.said)


def files(folder: Path) -> dict[str, bytes]:
    """Return what a project holds, without what its tasks make."""
    made = {"build", "__pycache__"}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not made & {*path.relative_to(folder).parts}
    }


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Play it in a project with few rows, and ask for its page meanwhile."""
    for program in ("prometheus", "prometheus-alertmanager"):
        tool(program)
    folder = tmp_path_factory.mktemp("story")
    copies.copied(folder)
    (folder / "training.toml").write_text(TRAINING)
    copies.edit(folder / "slo.yaml", {"(?m)^job: .*": "job: service"})
    copies.chassis(folder, "rules")
    (folder / "flights").mkdir()
    flights = pl.read_parquet("data/raw/flights.parquet").sample(ROWS, seed=1)
    flights.write_parquet(folder / "flights" / "all.parquet")
    before, port = files(folder), free_port()
    given = {
        **os.environ,
        **copies.settings_of(folder),
        "PYTHONUNBUFFERED": "1",
        "MODEL_SERVICE_SOURCES": json.dumps({"flights": f"{folder}/flights"}),
        "MODEL_SERVICE_OBSERVE_PORT": str(port),
        "MODEL_SERVICE_API_KEYS": "of-the-real-service-alone",
    }
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "ml_chassis", "observe", "--demo"]
    with subprocess.Popen(
        command, cwd=folder, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            wait_for(lambda: process.poll() is not None or answers(f"{url}/drift"), "a page")
            if process.poll() is None:
                live = httpx.get(f"{url}/drift", trust_env=False).text
            said, _ = process.communicate()
        finally:
            process.terminate()
    assert process.returncode == 0, said
    return Played(folder, said, live, before)


def test_it_is_told_in_its_order_what_fired_when(played: Played) -> None:
    assert [number for number, _ in PARTS.findall(played.said)] == list("123456")
    told = played.told()
    first, drifted = told.index(("page", "ModelServiceDegraded", "", "fires")), drift(told, "fires")
    assert first < told.index(("page", "ModelServiceDegraded", "", "has ended")) < drifted
    assert drifted < drift(told, "has ended")
    assert "promoted: log loss" in played.said
    asked = re.search(
        r"requests (\d+) .* model, (\d+) .* fallback, (\d+) refused.* (\d+) failed", played.said
    )
    assert asked
    model, fallback, refused, failed = map(int, asked.groups())
    assert min(model, fallback, refused) > 0
    assert failed == 0
    assert "What fired when, and the plots: build/observe/story.html" in played.said


def drift(told: list[tuple[str, ...]], became: str) -> int:
    """Return when somebody was told of the drift of the feature that the story says."""
    return told.index(("ticket", "ModelServiceFeatureDrift", "carrier", became))


def test_nothing_else_drifts_and_nobody_is_told_of_anything_else(played: Played) -> None:
    told = {name for _, name, *_ in played.told()}
    late = "ModelServiceAbsent"  # five seconds without a scrape: on a busy machine it can be
    drifts = {"ModelServiceFeatureDrift", "ModelServicePredictionDrift"}
    assert told <= {"ModelServiceDegraded", late, *drifts}
    assert {feature for _, name, feature, _ in played.told() if "Feature" in name} == {"carrier"}


def test_an_alert_had_the_challenger_trained_and_promoted(played: Played) -> None:
    second, first = registry.changes(played.copy / "models")
    assert first.version != second.version
    assert second.who.startswith("alert ModelService")


def test_the_page_shows_what_fired_and_both_distributions_before_and_after(played: Played) -> None:
    before, after = re.split(r"<h2>Drift after [\d:]+</h2>", played.page)[1:]
    assert "carrier has drifted" in before
    assert before.count(" has drifted</b>") == 1
    assert " has drifted</b>" not in after
    assert before.count(">now</span>") == before.count(">training</span>") > 14
    assert "ModelServiceFeatureDrift carrier fires: carrier of the last 7 days" in played.page


def test_the_page_shows_what_every_dashboard_can_know_of_it(played: Played) -> None:
    unknown = {
        *("Messages of a stream", "Other tracks beside stable"),
        *("Predictions of other tracks beside stable", "Values", "Age of the values", "Calls"),
        *("Impossible values", "Values of other services that are missing or too old"),
    }
    shown = {*re.findall("<figcaption><b>(.*?)</b>", played.page)}
    all_of_them = {
        panel.title
        for each in panels.dashboards(slo.read())
        for name, section in each.sections.items()
        for panel in section
        if name != "Release"  # there is no canary
    }
    assert all_of_them - shown <= unknown
    assert shown >= {"Alerts", "Latency", "Calibration", "Time since the last retraining"}


def test_the_page_that_is_live_has_the_same_panels(played: Played) -> None:
    assert '<meta http-equiv="refresh" content="10">' in played.live
    assert "Population stability index over its limit" in played.live
    assert '<a href="/business?hours=1">' in played.live


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_without_a_network_shows_all_of_it(
    played: Played, tmp_path: Path, dark: bool
) -> None:
    seen = look(played.page, tmp_path, width=PHONE, dark=dark)

    assert seen.width <= PHONE
    assert seen.charts == played.page.count("<svg")
    assert seen.text >= 10
    assert seen.background == ("rgb(22, 27, 34)" if dark else "rgb(255, 255, 255)")
    blue = "rgb(110, 168, 254)" if dark else "rgb(47, 111, 222)"
    assert blue in seen.colours
    assert "rgb(0, 0, 0)" not in seen.colours
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", played.page)
    assert "<script" not in played.page


def test_nothing_of_the_project_is_changed_and_nothing_goes_on(played: Played) -> None:
    assert files(played.folder) == played.before
    assert played.copy.stat().st_mode & 0o077 == 0
    left = [
        each.info
        for each in psutil.process_iter(["cmdline", "cwd"])
        if str(played.folder) in f"{each.info['cmdline']} {each.info['cwd']}"
    ]
    assert left == []
