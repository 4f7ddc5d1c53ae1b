"""New data challenge the champion, once, whatever interrupts it and whoever else tries."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from chassis.flights import CONTRACT, PROJECT
from ml_chassis import registry
from ml_chassis.data.pipeline import update
from ml_chassis.data.store import Store
from ml_chassis.monitoring.drift import PREDICTION
from ml_chassis.registry import CHALLENGER
from ml_chassis.training import comparison
from ml_chassis.training import log as log_module
from ml_chassis.training import retrain as module
from ml_chassis.training.config import (
    GAIN_OVER_CHAMPION,
    EvaluationConfig,
    Limit,
    RetrainingConfig,
    TrainingConfig,
)
from ml_chassis.training.config import read as read_config
from ml_chassis.training.log import Log
from ml_chassis.training.result import Result
from ml_chassis.training.retrain import retrain
from ml_chassis.training.train import prepare, register

pytestmark = pytest.mark.slow

FEATURES = CONTRACT.features

ROWS = 3_000
LATER = 500
"""Flights of the sample that come after the champion was trained."""
WINS = {GAIN_OVER_CHAMPION: Limit(minimum=-1, reason="whatever it is like")}
LOSES = {GAIN_OVER_CHAMPION: Limit(minimum=1, reason="more than anybody can")}
FAILS = {"auc": Limit(minimum=0.99, reason="too much to ask")}

# Each run is a process that kills itself where it would call a function.
KILLED_RUNS = """
import json, os, signal, sys
from pathlib import Path
from ml_chassis import registry
from ml_chassis.training import retrain, train
from chassis.flights import PROJECT
from chassis.training.test_retrain import WINS, config

folder, models = map(Path, sys.argv[1:])
retrain.FOLDER = folder
retrain.read = lambda _: config(WINS)
for module, function in ((train, "export"), (retrain, "compare")):
    child = os.fork()
    if not child:
        setattr(module, function, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        os._exit(retrain.run(PROJECT))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    outcome = json.loads((folder / "result.json").read_text())["outcome"]
    print("after", function, code, outcome, len(registry.versions(models)))
"""


def config(gates: Mapping[Any, Limit]) -> TrainingConfig:
    """Return what training.toml says, with few gates and what takes long left out."""
    changes = {
        "gates": gates,
        "evaluation": EvaluationConfig(),
        "retraining": RetrainingConfig(evaluation_days=60, minimum_new_rows=200),
    }
    return read_config(PROJECT).model_copy(update=changes)


@dataclass(frozen=True)
class Project:
    """A database with a champion that was trained from it, and a folder for new flights."""

    folder: Path
    store: Store

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def sources(self) -> dict[str, str]:
        return {"flights": f"{self.folder}/flights"}

    def add(self, flights: pl.DataFrame) -> None:
        """Put flights where the next run finds them."""
        number = len(list((self.folder / "flights").iterdir()))
        flights.write_parquet(self.folder / "flights" / f"{number}.parquet")

    def retrain(self, gates: Mapping[Any, Limit] = WINS) -> Result:
        result = Result()
        retrain(config(gates), self.store, self.models, result, self.sources)
        return result


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    """Return some flights of the whole year, in the order of time."""
    return pl.read_parquet("data/raw/flights.parquet").sample(ROWS, seed=1).sort("time_hour")


def open_project(folder: Path) -> Project:
    return Project(folder, Store(PROJECT, f"sqlite:///{folder}/service.db"))


@pytest.fixture(scope="module")
def trained_before(tmp_path_factory: pytest.TempPathFactory, flights: pl.DataFrame) -> Path:
    """Train a champion on the earlier flights."""
    project = open_project(tmp_path_factory.mktemp("before"))
    (project.folder / "flights").mkdir()
    project.add(flights[:-LATER])
    register(
        CONTRACT,
        prepare(config(WINS), project.store, project.models, project.sources),
        project.models,
    )
    project.store.close()
    return project.folder


@pytest.fixture
def project(
    trained_before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    shutil.copytree(trained_before, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(module, "FOLDER", tmp_path / "build")
    # The flights of this copy are those that were read already.
    project = open_project(tmp_path)
    update(PROJECT, project.store, project.sources)
    yield project
    project.store.close()


@pytest.fixture
def renewed(project: Project, flights: pl.DataFrame) -> Project:
    """Return a project to which the later flights have come."""
    project.add(flights[-LATER:])
    return project


def settings_of(project: Project) -> dict[str, str]:
    return {
        "MODEL_SERVICE_DATABASE_URL": f"sqlite:///{project.folder}/service.db",
        "MODEL_SERVICE_MODELS_DIR": str(project.models),
        "MODEL_SERVICE_SOURCES": json.dumps(project.sources),
    }


def test_without_new_rows_nothing_is_done(project: Project) -> None:
    assert project.retrain().outcome == "nothing_new"
    assert len(registry.versions(project.models)) == 1


def test_for_a_few_rows_nothing_is_done(project: Project, flights: pl.DataFrame) -> None:
    project.add(flights[-LATER:-400])

    result = project.retrain()

    assert result.outcome == "nothing_new"
    assert result.new_rows <= LATER - 400
    assert f"{result.new_rows} new rows; training asks for 200" in result.reason


def test_a_challenger_that_wins_becomes_the_champion_and_its_log_says_why(renewed: Project) -> None:
    first = registry.history(renewed.models)[0]

    result = renewed.retrain()

    assert result.outcome == "promoted", result.reason
    assert registry.history(renewed.models) == [result.challenger, first]
    assert registry.history(renewed.models, CHALLENGER) == [result.challenger]
    (run,) = Log(renewed.store).read()
    assert (run.kind, run.outcome) == ("retrain", result.challenger)
    assert registry.changes(renewed.models)[0].why == f"make retrain: {result.reason}"
    assert re.match(
        rf"log loss (lower|higher) by 0\.\d+ \(.* to .*\) than that of {first}, on", result.reason
    )
    assert result.champion == first
    assert result.comparison
    assert 300 < result.comparison.rows <= LATER
    assert {each.feature for each in result.drift} == {
        PREDICTION,
        *(each.name for each in FEATURES),
    }
    assert any(each.drifted for each in result.drift)  # winter has come


def test_neither_model_was_trained_on_the_rows_of_the_comparison(renewed: Project) -> None:
    result = renewed.retrain()

    manifests = [
        registry.read_manifest(renewed.models, version)
        for version in (result.champion or "", result.challenger or "")
    ]
    assert result.evaluated_from
    assert all(each.test_from and each.test_from <= result.evaluated_from for each in manifests)
    assert manifests[1].rows["train"] > manifests[0].rows["train"]


def test_a_challenger_that_loses_stays_one_and_is_not_tried_again(renewed: Project) -> None:
    first = registry.history(renewed.models)

    refused = renewed.retrain(LOSES)
    again = renewed.retrain(LOSES)

    assert refused.outcome == "refused"
    assert GAIN_OVER_CHAMPION in refused.reason
    assert registry.history(renewed.models) == first
    assert registry.history(renewed.models, CHALLENGER) == [refused.challenger]
    assert again.outcome == "nothing_new"
    assert len(registry.versions(renewed.models)) == 2


def test_a_model_below_another_gate_is_not_even_a_challenger(renewed: Project) -> None:
    result = renewed.retrain(FAILS)

    assert (result.outcome, result.reason) == ("refused", "the model does not meet auc")
    assert len(registry.versions(renewed.models)) == 1
    assert registry.changes(renewed.models, CHALLENGER) == []


def test_a_model_below_a_gate_is_not_trained_again_until_something_changes(
    renewed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def retrained(gates: Mapping[Any, Limit]) -> tuple[str, int]:
        result = renewed.retrain(gates)
        assert "not meet auc" in result.reason
        return result.outcome, len(Log(renewed.store).read())

    assert retrained(FAILS) == ("refused", 1)
    assert retrained(FAILS) == ("nothing_new", 1)

    less = {"auc": Limit(minimum=0.98, reason="still too much to ask")}
    assert retrained(less) == ("refused", 2)
    assert retrained(FAILS) == ("nothing_new", 2)

    monkeypatch.setattr(log_module, "_source", lambda _: "another")
    assert retrained(FAILS) == ("refused", 3)
    assert retrained(FAILS) == ("nothing_new", 3)

    monkeypatch.setattr(Store, "refused_shares", lambda _: {"flights": 0.5})
    assert retrained(FAILS) == ("refused", 4)


def test_what_a_person_rolled_back_is_not_promoted_again(renewed: Project) -> None:
    promoted = renewed.retrain()
    registry.rollback(CONTRACT, renewed.models, "worse at JFK")

    again = renewed.retrain()

    assert again.outcome == "nothing_new"
    assert registry.history(renewed.models) == [promoted.champion]


def test_the_next_run_finishes_what_killed_ones_began(
    renewed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_RUNS, renewed.folder / "build", renewed.models],
        env={**os.environ, **settings_of(renewed), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = [line for line in killed.stdout.splitlines() if line.startswith("after ")]
    assert told == ["after export -9 failed 1", "after compare -9 failed 2"]

    monkeypatch.setattr(module, "fit", None)  # it is registered, so nothing is trained again
    result = renewed.retrain()

    assert result.outcome == "promoted"
    assert len(registry.versions(renewed.models)) == 2
    assert registry.history(renewed.models)[0] == result.challenger
    assert renewed.retrain().outcome == "nothing_new"


def test_a_champion_that_changes_meanwhile_is_not_replaced(
    renewed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = registry.history(renewed.models)[0]

    def compare_slowly(*arguments: Any) -> Any:
        challenger = registry.history(renewed.models, CHALLENGER)[0]
        registry.promote(CONTRACT, renewed.models, challenger, "a person was faster")
        registry.promote(CONTRACT, renewed.models, first, "and changed their mind")
        registry.promote(CONTRACT, renewed.models, challenger, "again")
        return comparison.compare(*arguments)

    monkeypatch.setattr(module, "compare", compare_slowly)
    with pytest.raises(registry.RegistryError, match="became the champion meanwhile"):
        renewed.retrain()


@pytest.fixture
def main(project: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[Any, Limit]], int]:
    """Return the command, for some gates."""
    for name, value in settings_of(project).items():
        monkeypatch.setenv(name, value)

    def run(gates: Mapping[Any, Limit]) -> int:
        monkeypatch.setattr(module, "read", lambda _: config(gates))
        return module.run(PROJECT)

    return run


def test_a_second_run_at_once_says_who_runs(
    renewed: Project,
    main: Callable[[Mapping[Any, Limit]], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with renewed.store.only_one("retraining"):
        assert main(WINS) == 0

    assert f"Another retraining runs: process {os.getpid()} on " in capsys.readouterr().out
    assert len(registry.versions(renewed.models)) == 1
    assert not (renewed.folder / "build").exists()


def test_schedulers_are_told_by_the_exit_code_and_a_file(
    project: Project,
    flights: pl.DataFrame,
    main: Callable[[Mapping[Any, Limit]], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = project.folder / "build"

    def told(gates: Mapping[Any, Limit]) -> tuple[int, str]:
        code = main(gates)
        outcome: str = json.loads((path / "result.json").read_text())["outcome"]
        title = f"<title>Retraining: {outcome.replace('_', ' ')}</title>"
        assert title in (path / "report.html").read_text()
        return code, outcome

    assert told(WINS) == (0, "nothing_new")
    project.add(flights[-LATER:])
    assert told(FAILS) == (3, "refused")
    assert told(WINS) == (0, "promoted")
    assert registry.history(project.models)[0] in (path / "report.html").read_text()
    assert registry.history(project.models)[0] in (path / "result.json").read_text()
    assert "all gates passed" in (path / "training.html").read_text()
    monkeypatch.setenv("MODEL_SERVICE_SOURCES", '{"flights": "nowhere"}')
    assert told(WINS) == (1, "failed")
