"""Champion and challenger answer in one service, and `chassis experiment` says what came of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import sqlalchemy as sa

from chassis.delivery.host import chassis
from ml_chassis import registry
from ml_chassis.delivery.demo.stage import Stage
from ml_chassis.delivery.gateway import Gateway, serve
from ml_chassis.feedback.sample import MAX_ROWS_PER_SECOND
from ml_chassis.observe.demo.copied import Row, rows
from ml_chassis.programs import LOCAL, ProgramError, end, free_port
from ml_chassis.registry import CHALLENGER
from ml_chassis.settings import STABLE
from waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

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


def exposures(stage: Stage) -> int:
    """Return how many are kept."""
    engine = sa.create_engine(f"sqlite:///{stage.copy.folder}/data/feedback.db")
    asked = sa.text("SELECT count(*) FROM feedback_exposures WHERE experiment = :name")
    with engine.connect() as connection:
        return int(connection.scalars(asked, {"name": NAME}).one())


def test_users_see_one_model_each_and_the_better_one_is_found(stage: Stage, tmp_path: Path) -> None:
    asked, threshold = rows(stage.copy), stage.copy.config.decision
    assert threshold
    with serving(stage, tmp_path / "log", EXPERIMENT=NAME, WORKERS="2") as client:
        found = list[Answer]()
        for at in range(UNITS + TWICE):
            found.append(ask(client, asked[at], user_id=f"user {at % UNITS}"))
            if len(found) % MAX_ROWS_PER_SECOND == 0:  # of more a share is kept
                wait_for(lambda: exposures(stage) == len(found), "all are kept")
        first, again = found[:UNITS], found[UNITS:]
        assert [each.version for each in again] == [each.version for each in first[:TWICE]]
        versions = [each.version for each in first]
        assert {*versions} == {stage.champion, stage.challenger}
        assert 0.37 * UNITS < versions.count(stage.challenger) < 0.63 * UNITS  # 6 deviations

        # Neither of these is in the test.
        assert ask(client, asked[0]).version == stage.champion
        for arm, version in (("champion", stage.champion), (CHALLENGER, stage.challenger)):
            assert ask(client, asked[0], experiment_arm=arm, user_id="1").version == version

        code, said = chassis(stage, "experiment")
        assert (code, "Outcomes are known of 0 units" in said) == (0, True), said

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
