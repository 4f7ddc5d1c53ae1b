"""Each panel, rule and question of the runbook has an answer, by Prometheus under real traffic."""

import json
import math
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import httpx
import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard

from brokers import Redis
from chassis.copies import edit
from chassis.example.sources.weather_service import weather_service
from chassis.flights import CONTRACT, PROJECT
from chassis.retrainer.process import running_retrainer
from ml_chassis import slo
from ml_chassis.monitoring import files, metrics, panels, rules
from ml_chassis.monitoring.deployed import COMPOSE
from ml_chassis.monitoring.rules import release
from ml_chassis.monitoring.rules.rule import RUNBOOK
from ml_chassis.observe.demo.quicker import quicker
from ml_chassis.observe.site import HOURS, Site
from ml_chassis.programs import answers, free_port, running
from ml_chassis.retrainer.record import Record
from ml_chassis.testing import Trained, running_service
from ml_chassis.training.config import RetrainingConfig
from prometheus import Prometheus, running_prometheus
from waiting import wait_for

STATED = slo.read().model_copy(
    update={"job": "service", "release": slo.Release(least_requests=100)}
)
FASTER = 60
"""A minute of the rules is a second."""
ROW = CONTRACT.example_row()
FLIGHT = {name: ROW[name] for name in ("carrier", "origin", "destination", "distance")}
NAME = re.compile(r"\b(?:model_service[\w:]*|ALERTS)\b")
GROUPED = re.compile(r"\b(?:by|on) \(([\w, ]*)\)")
QUESTION = re.compile(r"`([^`]*model_service[^`]*)`")


class Asked(NamedTuple):
    """An expression, and where it stands."""

    place: str
    expr: str


def recorded() -> dict[str, str]:
    """Return what is recorded, by name; several rules may record it with other labels."""
    found: dict[str, str] = {}
    for group in rules.rules(STATED)["groups"]:
        for rule in group["rules"]:
            if name := rule.get("record"):
                found[name] = f"{found.get(name, '')}\n{rule['expr']}"
    return found


def alerts() -> list[Asked]:
    return [
        Asked(rule["alert"], rule["expr"])
        for group in rules.rules(STATED)["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]


def of_panels() -> list[Asked]:
    return [
        Asked(f"{dashboard.name}: {panel.title}", query.expr)
        for dashboard in panels.dashboards(STATED)
        for each in dashboard.sections.values()
        for panel in each
        for query in panel.queries
    ]


def of_the_runbook() -> list[Asked]:
    """Return what its reader is told to ask."""
    text = Path(RUNBOOK).read_text(encoding="utf-8")
    return [Asked("runbook", found) for found in QUESTION.findall(text)]


EXPRESSIONS = [*of_panels(), *of_the_runbook()]


@contextmanager
def running_stream(models: Path, folder: Path) -> Iterator[str]:
    """Run `chassis stream`, with one event; yield the address of its metrics."""
    broker, port = Redis(folder), free_port()
    url = f"http://127.0.0.1:{port}"
    broker.start()
    broker.send("events", [json.dumps({"id": "a", "row": ROW}).encode()])
    settings = {
        "BROKER_URL": broker.url,
        "DATABASE_URL": f"sqlite:///{folder}/stream.db",
        "MODELS_DIR": str(models),
        "METRICS_PORT": str(port),
    }
    given = {f"MODEL_SERVICE_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "ml_chassis", "stream"]
    with (
        closing(broker),
        running(command, lambda: answers(f"{url}/metrics"), environment=given),
    ):
        yield url


@contextmanager
def retrained(folder: Path) -> Iterator[str]:
    """Run `chassis retrainer`, which has retrained once; yield its address."""
    url = f"sqlite:///{folder}/retrainings.db"
    record = Record(url)
    record.end(record.begin("alert Drift", RetrainingConfig()), "promoted", "it is better")
    with running_retrainer(Path.cwd(), MODEL_SERVICE_DATABASE_URL=url) as running:
        yield running.url


class Replicas(NamedTuple):
    """The service, of both tracks, and how the canary ends."""

    stable: str
    canary: str
    end: ExitStack


@pytest.fixture(scope="module")
def replicas(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Run a stable service, which takes labels and asks for the weather, and a canary."""
    folder = tmp_path_factory.mktemp("service")
    with ExitStack() as stack:
        weather = stack.enter_context(weather_service())
        database = f"sqlite:///{folder}/x.db"
        settings = {"WEATHER_URL": weather.url, "MODEL_SERVICE_FEEDBACK_URL": database}
        stable = stack.enter_context(running_service(trained.models, folder, **settings))
        end = stack.enter_context(ExitStack())
        track = {"MODEL_SERVICE_TRACK": "canary"}
        canary = end.enter_context(running_service(trained.models, folder, **track))
        yield Replicas(stable, canary, end)


@pytest.fixture(scope="module")
def prometheus(
    trained: Trained, replicas: Replicas, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Watch a stable service, a canary, a stream and a retrainer, until each expression answers."""
    folder = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as stack:
        service = [replicas.stable, replicas.canary]
        stream = stack.enter_context(running_stream(trained.models, folder))
        retrainer = stack.enter_context(retrained(folder))
        faster = quicker(yaml.safe_load(rules.text(STATED)), FASTER)
        targets = {"service": [*service, stream, retrainer]}
        server = stack.enter_context(running_prometheus(folder, targets, faster))

        left = EXPRESSIONS

        def all_have_answered() -> bool:
            nonlocal left
            for url in service:
                ask(url)
            tell(service[0])
            left = unanswered(server, left)
            return not left

        try:
            wait_for(all_have_answered, "each expression has an answer")
        except TimeoutError:
            pytest.fail(f"These have no answer: {left}")
        yield server


def ask(url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        client.post("/predict", json={"rows": [ROW] * 50}).raise_for_status()
        assert (
            client.post("/predict", json={"rows": [{**ROW, "wind_speed": -1}]}).status_code == 422
        )
        soon = datetime.now(ZoneInfo("America/New_York")) + timedelta(hours=1)
        flight = {**FLIGHT, "date": f"{soon:%Y-%m-%d}", "time": f"{soon:%H:%M}"}
        client.post("/api/flights", json=flight).raise_for_status()


def tell(url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        answer = client.post("/predict", json={"rows": [ROW] * 10}).raise_for_status().json()
        labels = [
            {"prediction_id": name, "label": at < 3}
            for at, name in enumerate(answer["prediction_id"])
        ]
        client.post("/feedback", json={"labels": labels}).raise_for_status()


def unanswered(server: Prometheus, expressions: list[Asked]) -> list[Asked]:
    """Return those that have no value that is a number."""
    return [
        asked
        for asked in expressions
        if all(math.isnan(each.value) for each in server.ask(chosen(asked.expr)))
    ]


def chosen(expr: str) -> str:
    """Return an expression as it is sent for what somebody has chosen."""
    return panels.choose(expr, "service", "distance", "15s").replace("NAME", "distance")


@pytest.mark.slow
def test_no_panel_is_empty_and_no_question_of_the_runbook_is_without_an_answer(
    prometheus: Prometheus,
) -> None:
    assert len(of_panels()) > 40
    assert len(of_the_runbook()) > 12
    wrong = Asked("", EXPRESSIONS[-1].expr.replace("model_service", "no_service"))
    assert unanswered(prometheus, [wrong]) == [wrong]


@pytest.mark.slow
def test_the_page_of_make_observe_draws_every_panel(prometheus: Prometheus) -> None:
    shown = panels.dashboards(STATED)
    site = Site(prometheus, "flights", "service", shown, 1)
    for each in shown:

        def is_whole(name: str = each.name) -> bool:
            return "have no data" not in site.render(name, next(iter(HOURS)), "distance")

        wait_for(is_whole, f"the page {each.name} has all panels")
        panel_count = sum(map(len, each.sections.values()))
        assert site.render(each.name, "1", "distance").count("<figure>") == panel_count
    report = site.render("distributions", "1", "")
    assert report.count("<figure>") == 2 * (len(CONTRACT.features) + 1)  # of both tracks


@pytest.mark.slow
def test_what_can_be_chosen_is_there(prometheus: Prometheus) -> None:
    for dashboard in panels.dashboards(STATED):
        for label, series in dashboard.chosen.items():
            assert {each.labels[label] for each in prometheus.ask(series)} >= {
                chosen(f"${label}") if label != panels.TRACK else "stable"
            }


@pytest.mark.slow
def test_every_rule_works_and_gives_the_labels_that_others_ask_for(prometheus: Prometheus) -> None:
    answer = httpx.get(f"{prometheus.url}/api/v1/rules", trust_env=False).json()
    found = [rule for group in answer["data"]["groups"] for rule in group["rules"]]

    assert [(each["name"], each.get("lastError")) for each in found if each["health"] != "ok"] == []
    for name in recorded().keys() - {release.PROBLEM}:  # of a good canary there is none
        assert prometheus.ask(f"last_over_time({name}[5m])"), f"nothing is recorded as {name}"


@pytest.mark.slow
def test_a_canary_that_is_as_good_is_told_from_one_that_has_ended(
    prometheus: Prometheus, replicas: Replicas
) -> None:
    def verdict() -> list[float]:
        for url in (replicas.stable, replicas.canary):
            with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
                for _ in range(50):
                    client.post("/predict", json={"rows": [ROW]}).raise_for_status()
        return [each.value for each in prometheus.ask(release.VERDICT)]

    wait_for(lambda: verdict() == [1], "the canary is as good")

    replicas.end.close()
    gone = f'{release.VERDICT} == -1 and on (job) {release.PROBLEM}{{reason="absent"}}'
    wait_for(lambda: bool(prometheus.ask(gone)), "it is gone")


def test_all_that_is_recorded_and_counted_is_used() -> None:
    used = [asked.expr for asked in (*EXPRESSIONS, *alerts())]
    names = {name for expr in used for name in NAME.findall(expr)}
    waiting = [*names]
    while waiting:  # what a record is made from is used where the record is
        for name in NAME.findall(recorded().get(waiting.pop(), "")):
            if name not in names:
                names.add(name)
                waiting.append(name)

    assert recorded().keys() - names == set()
    counted = {each.name + "_total" * (each.type == "counter") for each in metrics.described()}
    shown = {re.sub("_(bucket|sum|count)$", "", name) for name in names}
    assert counted - shown == set()
    assert shown - counted - recorded().keys() == {"ALERTS"}


def test_labels_are_those_that_there_are() -> None:
    known = {*metrics.LABELS, "job", "instance", "le", "alertname"}
    for asked in (*EXPRESSIONS, *alerts(), *(Asked(*each) for each in recorded().items())):
        for labels in GROUPED.findall(asked.expr):
            assert set(filter(None, re.split(", *", labels))) <= known, asked


def test_without_an_error_budget_no_burn_rate_of_it_is_shown() -> None:
    objectives = STATED.objectives.model_copy(update={"error_share": 0})
    (service, *_) = panels.dashboards(STATED.model_copy(update={"objectives": objectives}))
    (burning,) = (each for each in service.sections["Objectives"] if each.title == "Burn rate")

    legends = [query.legend for query in burning.queries]
    assert legends == ["ModelServiceLatency {{track}}", "ModelServiceDegraded {{track}}"]


def test_grafana_can_read_each_dashboard_and_legends_name_labels_that_there_are() -> None:
    written = files.files(STATED, "service")
    assert {path.stem for path in written} == {"rules", "service", "model", "drift", "business"}
    for path, text in written.items():
        if path.suffix == ".json":
            read = Dashboard.from_json(json.loads(text))
            assert read.title == f"service: {path.stem}"
            assert len(read.panels or []) > 8
            for label in re.findall(r"\{\{(\w+)\}\}", text):
                assert label in {*metrics.LABELS, "instance"}


def test_the_files_of_a_project_are_held_to_its_objectives_and_its_runbook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (slo.SLO, Path(RUNBOOK), *files.files(slo.read(), "")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(Path(path).read_bytes())
    monkeypatch.chdir(tmp_path)
    assert files.problems(PROJECT) == []

    edit(tmp_path / "slo.yaml", {"error_share: 0.001": "error_share: 0.002"})
    edit(tmp_path / "docs/runbook.md", {"## ModelServiceMemory": "## Memory"})
    assert files.problems(PROJECT) == [
        "monitoring/rules.yaml is not that of slo.yaml: run `make rules`",
        f"{files.MANIFEST} is not that of slo.yaml: run `make rules`",
        "monitoring/dashboards/service.json is not that of slo.yaml: run `make rules`",
        "docs/runbook.md has no section `## ModelServiceMemory`",
    ]

    (tmp_path / COMPOSE).write_text("services: {service: {mem_limit: 256m}}")
    limit = f"{COMPOSE}: mem_limit is 256m, and by slo.yaml 512m: change the one that is wrong"
    assert files.run(PROJECT) == 0
    assert f"Note: {limit}\n" in capsys.readouterr().out
    assert files.problems(PROJECT) == [
        limit,
        "docs/runbook.md has no section `## ModelServiceMemory`",
    ]
    edit(tmp_path / "slo.yaml", {r"expected: \[\]": "expected: [age]"})
    assert files.run(PROJECT) == 1
    assert "drift.expected: there is no feature 'age'; give (prediction)" in capsys.readouterr().err
    (tmp_path / "slo.yaml").write_text("[")
    assert files.run(PROJECT) == 1
    said = capsys.readouterr().err
    assert said.startswith("Not all rules and dashboards were written. slo.yaml: ")
    (tmp_path / "monitoring/rules.yaml").unlink()
    assert "slo.yaml" in files.problems(PROJECT)[0]
