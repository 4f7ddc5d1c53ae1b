"""A copy of a project is trained; what drifts there is learnt from what comes later."""

import json
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from chassis import copies
from chassis.flights import CONTRACT, PROJECT
from ml_chassis import registry
from ml_chassis.contract import Contract
from ml_chassis.errors import UserError
from ml_chassis.observe.demo import copied, scene
from ml_chassis.observe.demo.copied import Row
from ml_chassis.observe.demo.scene import Scene
from ml_chassis.serving.feedback import label_of
from ml_chassis.serving.messages import Messages
from ml_chassis.serving.predictor import Predictor

pytestmark = pytest.mark.slow

ROWS = 1_500
TRAINING = f"""{copies.TRAINING}[gates.gain_over_champion]
minimum = -0.005
reason = "no worse than the champion"
"""
SHIFT = 0.2
"""A population stability index that is told."""


class Made(NamedTuple):
    """A project, what it consisted of before, and its scene."""

    folder: Path
    files: set[str]
    scene: Scene


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Make the scene of a small project, which holds more than what it consists of."""
    folder = tmp_path_factory.mktemp("scene") / "project"
    copies.copied(folder)
    (folder / "training.toml").write_text(TRAINING)
    flights = pl.read_parquet("data/raw/flights.parquet").sample(ROWS, seed=1)
    flights.write_parquet(folder / "../some.parquet")
    for name in (".env", "models/x/model.onnx", "build/x", "data/service.db", "src/models/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("before")
    (folder / "build/demo").mkdir()
    (folder / "build/demo/earlier").touch()
    sources = json.dumps({"flights": "../some.parquet"})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MODEL_SERVICE_SOURCES", sources)
        files = listed(folder)
        yield Made(folder, files, scene.make(PROJECT, Path("build/demo")))


@pytest.fixture(scope="module")
def asked(made: Made) -> list[Row]:
    """Return the rows of training."""
    return copied.rows(made.scene.copy)


def listed(folder: Path) -> set[str]:
    """Return the files of a project without what is built."""
    found = {each.relative_to(folder) for each in folder.rglob("*") if each.is_file()}
    return {str(each) for each in found if each.parts[0] != "build"}


def test_all_happens_in_a_copy_of_what_the_project_consists_of(made: Made) -> None:
    copy = made.folder / "build/demo"
    assert made.scene.copy.folder == copy
    assert listed(made.folder) == made.files

    assert (copy / "training.toml").read_text() == TRAINING
    assert (copy / "src/models/x").exists(), "what is called so elsewhere belongs to it"
    assert (copy / "data/raw/weather.parquet").is_symlink()
    for name in (".env", "build/x", "models/x", "earlier"):
        assert not (copy / name).exists(), name
    assert (made.folder / "data/service.db").read_text() == "before"
    assert (copy / "data/service.db").is_file()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o700
    assert "is the champion now" in (copy / "train.log").read_text()


def test_the_rows_are_those_of_training_as_the_service_takes_them(
    made: Made, asked: list[Row]
) -> None:
    _, manifest = registry.load(made.scene.copy.folder / "models")
    assert len(asked) == manifest.rows["train"] < ROWS
    assert asked == copied.rows(made.scene.copy)

    sent = json.loads(json.dumps(asked))
    Messages(CONTRACT).parse([features for features, _ in sent], len(sent))
    for _, label in sent:
        label_of(CONTRACT).model_validate({"prediction_id": "a-0", "label": label})


def test_what_drifts_is_a_value_that_training_hardly_knew(made: Made, asked: list[Row]) -> None:
    _, feature, value, share = made.scene.change
    assert feature == "carrier"
    known = [row.features[feature] == value for row in asked]
    assert 0 < np.mean(known) < 0.05

    drifted = scene.drifted(made.scene, asked)
    changed = [row.features[feature] == value for row in drifted]
    assert np.mean(changed) == pytest.approx(share, abs=0.05)
    for row, before in zip(drifted, asked, strict=True):
        assert row.label == before.label
        assert {**row.features, feature: ""} == {**before.features, feature: ""}


def test_what_comes_is_learnt_and_the_drift_ends(made: Made, asked: list[Row]) -> None:
    models, drifted = made.scene.copy.folder / "models", scene.drifted(made.scene, asked)
    (first,) = registry.history(models)
    assert shifted(models, first, asked) == set()
    assert shifted(models, first, drifted) == {"carrier"}

    scene.let_come(made.scene)
    said = copies.run(
        made.scene.copy.folder, "-m", "ml_chassis", "retrain", **made.scene.copy.environment
    )

    assert said.returncode == 0, said.stdout + said.stderr
    told = json.loads((made.scene.copy.folder / "build/retraining/result.json").read_text())
    assert told["outcome"] == "promoted", told["reason"]
    assert told["new_rows"] > ROWS * 0.9
    assert set(told["read"]) == {
        f"{made.scene.copy.folder}/raw/{name}/later.parquet" for name in ("flights", "weather")
    }
    second, _ = registry.history(models)
    assert shifted(models, second, drifted) == set()
    assert listed(made.folder) == made.files


def shifted(models: Path, version: str, rows: list[Row]) -> set[str]:
    """Return the features that lie elsewhere than those of a version's training."""
    contract: Contract = CONTRACT
    graph, manifest = registry.load(models, version)
    inputs = contract.to_arrays([contract.to_row(row.features) for row in rows])
    predicted = Predictor(contract, graph).predict(*inputs)
    counts = manifest.reference.count(contract, *inputs, predicted)
    found = set()
    for name, bins in manifest.reference.bins.items():
        before = np.array(bins.share) * manifest.rows["train"] + 0.5
        now = np.array(counts[name]) + 0.5
        before, now = before / before.sum(), now / now.sum()
        if ((now - before) * np.log(now / before)).sum() > SHIFT:
            found.add(name)
    return found


def test_of_a_training_that_fails_the_end_is_shown(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(made.folder, made.folder.parent / "other")
    (other / "training.toml").write_text(TRAINING.replace("2013-10-01", "2033-10-01"))
    monkeypatch.chdir(other)

    with pytest.raises(UserError) as failed:
        scene.make(PROJECT, tmp_path / "demo")

    log = tmp_path / "demo/train.log"
    assert str(failed.value).startswith(f"The model could not be trained; see {log}:\n")
    assert "There are no rows from 2033-10-01 on: choose another test_from" in str(failed.value)
    assert "Traceback" not in str(failed.value)


def test_processes_of_the_story_reach_nothing_else(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_SERVICE_MLFLOW_URL", "https://mlflow.example.com")
    code = "from ml_chassis.settings import read; print(read().model_dump_json())"
    said = copies.run(made.scene.copy.folder, "-c", code, **made.scene.copy.environment)
    found = json.loads(said.stdout)

    assert found["mlflow_url"] == found["retrain_url"] == ""
    assert found["models_dir"] == f"{made.scene.copy.folder}/models"
    assert found["sources"].keys() == {"flights", "weather", "planes"}
