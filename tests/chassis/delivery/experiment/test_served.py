"""Champion and challenger answer, in one service or two, until it is decided which is better."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import sqlalchemy as sa

from chassis import copies
from chassis.delivery.host import Host, chassis
from ml_chassis import registry
from ml_chassis.delivery.demo.stage import Stage
from ml_chassis.delivery.gateway import Gateway, serve
from ml_chassis.feedback.store import EXPERIMENTS, EXPOSURES
from ml_chassis.observe.demo.copied import Row, rows
from ml_chassis.programs import LOCAL, ProgramError, end, free_port
from ml_chassis.registry import CHALLENGER
from ml_chassis.settings import STABLE
from waiting import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # it trains twice
    pytest.mark.usefixtures("with_envoy"),
]

NAME, UNITS, TWICE = "spring", 500, 100


class Answer(NamedTuple):
    """What a client gets."""

    version: str
    id: str
    prediction: float


@pytest.fixture
def stage(running: tuple[Stage, Gateway]) -> Iterator[Stage]:
    """Name a challenger, and none again."""
    stage, _ = running
    copy = stage.copy
    registry.promote(copy.project.contract, copy.models, stage.challenger, "x", alias=CHALLENGER)
    yield stage
    (copy.models / CHALLENGER).unlink()


@contextmanager
def serving(stage: Stage, log: Path, **settings: str) -> Iterator[httpx.Client]:
    url = f"http://{LOCAL}:{free_port()}"
    process = serve(stage.place, url, STABLE, log, **settings)
    try:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            yield client
    finally:
        end(process)


def ask(client: httpx.Client, row: Row, **headers: str) -> Answer:
    body = {"rows": [row.features]}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = client.post("/predict", json=body, headers=given).raise_for_status().json()
    names = ("model_version", "prediction_id", "predictions")
    version, ids, predictions = (answer[name] for name in names)
    return Answer(version, ids[0], predictions[0])


def database(stage: Stage) -> sa.Engine:
    return sa.create_engine(f"sqlite:///{stage.copy.folder}/data/feedback.db")


def exposures(stage: Stage) -> int:
    """Return how many are kept."""
    asked = sa.text("SELECT count(*) FROM feedback_exposures WHERE experiment = :name")
    with database(stage).connect() as connection:
        return int(connection.scalars(asked, {"name": NAME}).one())


def test_users_see_one_model_each_and_the_better_one_is_found(stage: Stage, tmp_path: Path) -> None:
    asked, threshold = rows(stage.copy), stage.copy.config.decision
    assert threshold
    with serving(stage, tmp_path / "log", EXPERIMENT=NAME, WORKERS="2") as client:
        first = [ask(client, asked[at], user_id=f"user {at}") for at in range(UNITS)]
        again = [ask(client, asked[at + 1], user_id=f"user {at}") for at in range(TWICE)]
        wait_for(lambda: exposures(stage) >= UNITS, "all are kept")
        assert [each.version for each in again] == [each.version for each in first[:TWICE]]
        versions = [each.version for each in first]
        assert {*versions} == {stage.champion, stage.challenger}
        assert 0.37 * UNITS < versions.count(stage.challenger) < 0.63 * UNITS  # 6 deviations

        # Neither of these is in the test.
        assert ask(client, asked[0]).version == stage.champion
        for arm, version in (("champion", stage.champion), (CHALLENGER, stage.challenger)):
            assert ask(client, asked[0], experiment_arm=arm, user_id="1").version == version

        wait_for(lambda: "Outcomes are known of 0 units" in chassis(stage, "experiment")[1])

        # What the challenger decides turns out to be right, and what the champion does wrong.
        labels = [
            {
                "prediction_id": each.id,
                "label": (each.prediction >= threshold.threshold)
                is (each.version == stage.challenger),
            }
            for each in first
        ]
        client.post("/feedback", json={"labels": labels}).raise_for_status()
    code, said = chassis(stage, "experiment")
    assert (code, f"analysing {NAME}" in said) == (0, True), said
    assert "The challenger is better than the champion." in said
    assert "USD" in said
    page = (stage.copy.folder / "build/experiment/report.html").read_text(encoding="utf-8")
    assert "The challenger is better than the champion" in page
    assert f"<td>{versions.count(stage.challenger)}</td>" in page


TEST = """
import sys
from ml_chassis import project
from ml_chassis.delivery.demo.stage import FAULTY
from ml_chassis.delivery.experiment import command
from ml_chassis.delivery.gateway import Place
from ml_chassis.delivery.progress import Pace
sys.path.insert(0, "src")
place = Place(command=(*FAULTY, sys.argv[2])) if sys.argv[2:] else Place()
sys.exit(command.run_test(project.read(), sys.argv[1], Pace(delay=3, interval=1), place))
"""
"""`chassis experiment --version VERSION`, in a hurry, and perhaps with a fault."""


@contextmanager
def begun(host: Host, *fault: str) -> Iterator[tuple[httpx.Client, "subprocess.Popen[str]"]]:
    """Begin a test that few outcomes decide, and wait until the challenger answers."""
    with database(host.stage).begin() as connection:  # else that of a test before goes on
        for table in (EXPOSURES, EXPERIMENTS):
            table.create(connection, checkfirst=True)
            connection.execute(sa.delete(table))
    slo = host.stage.copy.folder / "slo.yaml"
    before = slo.read_text(encoding="utf-8")
    plan = {"least_units: 200": "least_units: 30", "least_difference: null": "least_difference: 10"}
    copies.edit(slo, plan)
    process = subprocess.Popen(
        [sys.executable, "-c", TEST, host.stage.challenger, *fault],
        cwd=host.stage.copy.folder,
        env=host.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    asked = rows(host.stage.copy)[0]
    try:
        with httpx.Client(base_url=host.gateway.addresses.service, timeout=30) as client:

            def is_there() -> bool:
                assert process.poll() is None, process.communicate()
                found = ask(client, asked, experiment_arm=CHALLENGER)
                return found.version == host.stage.challenger

            wait_for(is_there, "the challenger answers")
            yield client, process
    finally:
        process.kill()
        slo.write_text(before, encoding="utf-8")


def test_behind_the_gateway_each_model_has_a_service_until_it_is_decided(host: Host) -> None:
    asked, decision = rows(host.stage.copy), host.stage.copy.config.decision
    assert decision
    with begun(host) as (client, process):
        found = [ask(client, asked[at], user_id=f"user {at}") for at in range(200)]
        again = [ask(client, asked[at + 1], user_id=f"user {at}") for at in range(50)]
        assert [each.version for each in again] == [each.version for each in found[:50]]
        assert {each.version for each in found} == {host.stage.champion, host.stage.challenger}
        labels = [
            {
                "prediction_id": each.id,
                "label": (each.prediction >= decision.threshold)
                is (each.version == host.stage.challenger),
            }
            for each in found
        ]
        client.post("/feedback", json={"labels": labels}).raise_for_status()
        said, _ = process.communicate()
        assert process.returncode == 0, said
        assert "The challenger is better than the champion" in said
        wait_for(
            lambda: ask(client, asked[0], experiment_arm=CHALLENGER).version == host.stage.champion,
            "stable answers all",
        )
    # Who names no user is not in the test.
    assert host.traffic.versions.keys() == {host.stage.champion}


def test_a_challenger_that_harms_clients_is_taken_away(host: Host) -> None:
    asked = rows(host.stage.copy)
    with begun(host, "errors") as (client, process):
        users = count()
        while process.poll() is None:  # what it fails, stable answers
            number = next(users)
            ask(client, asked[number % len(asked)], user_id=f"user {number}")
        said, _ = process.communicate()
        assert process.returncode == 1, said
        assert re.search(r"harms clients: .*\berrors\b", said), said


def test_without_a_challenger_nothing_is_served(
    running: tuple[Stage, Gateway], tmp_path: Path
) -> None:
    stage, _ = running
    with (
        pytest.raises(ProgramError, match="make promote VERSION=... ALIAS=challenger"),
        serving(stage, tmp_path / "log", EXPERIMENT=NAME),
    ):
        pass


def test_what_cannot_be_analysed_is_told(running: tuple[Stage, Gateway]) -> None:
    stage, _ = running
    code, said = chassis(stage, "experiment", MODEL_SERVICE_EXPERIMENT="summer")
    assert (code, "There is no A/B test summer" in said) == (1, True), said
    code, said = chassis(stage, "experiment", MODEL_SERVICE_FEEDBACK_URL="")
    assert (code, "MODEL_SERVICE_FEEDBACK_URL" in said) == (1, True), said
