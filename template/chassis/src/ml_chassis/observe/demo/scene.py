"""The scene of the story: a copy of the project, what is asked there, and what drifts."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from ... import registry, settings, slo
from ...data.store import Store
from ...data.tables import ORIGIN, POSITION
from ...errors import UserError
from ...project import Project
from ...serving.predictor import Predictor
from ...settings import PREFIX
from ...training import config
from ...training.config import CONFIG, TrainingConfig
from ...training.split import Split
from . import change, coming
from .coming import SEED, Change

TRAIN = (sys.executable, "-m", "ml_chassis", "train")
LOG = "train.log"
LAST_LINES = 10
SQLITE = "sqlite:///"
MODELS, RAW, INCOMING = "models", "raw", ".raw"
UNUSED = {"build", "chassis", "dist", "env", "mlruns", "node_modules", "venv", MODELS}
"""What of the root of a project is not copied, beside all that is hidden."""
DATABASES = (".db", ".db-journal", ".db-shm", ".db-wal")
"""How files of SQLite end: the copy has its own."""
MOST_ROWS = 10_000
"""Rows that are asked, again and again."""
MODE = 0o700
"""Rows may hold personal values."""


class Scene(NamedTuple):
    """Where the story takes place.

    Attributes:
        project: The project.
        folder: A copy of it, in which all commands run, so that nothing of it is changed.
        environment: Settings by which they use what is in the copy.
        change: What drifts.
    """

    project: Project
    folder: Path
    environment: dict[str, str]
    change: Change

    @property
    def models(self) -> Path:
        """The registry of the copy."""
        return self.folder / MODELS


class Row(NamedTuple):
    """What is asked, and what turns out to be true, as JSON has them."""

    features: dict[str, Any]
    label: Any


def make(project: Project, folder: Path) -> Scene:
    """Copy the project in the working folder, train its model there, and find what will drift.

    Args:
        project: The project.
        folder: Of the copy; what is in it is removed first.

    Raises:
        UserError: the model cannot be trained, or nothing can drift.
    """
    folder, sources = folder.absolute(), _sources(project)
    _copy(folder)
    _train(folder, _environment(folder, sources))
    with _store(project, folder) as store:
        found = _find(project, folder, store)
    later = {each.name: str(folder / RAW / each.name) for each in coming.tables(project, found)}
    return Scene(project, folder, _environment(folder, {**sources, **later}), found)


def rows(scene: Scene) -> list[Row]:
    """Return rows that the first champion was trained on, in a random order, always the same.

    Raises:
        UserError: they cannot be read.
    """
    contract = scene.project.contract
    with _store(scene.project, scene.folder) as store:
        found = _of_training(scene.project, scene.folder, store)
    found = found.sample(min(found.height, MOST_ROWS), shuffle=True, seed=SEED)
    features = found.select(each.name for each in contract.features).to_dicts()
    return [Row(*both) for both in zip(features, found[contract.label].to_list(), strict=True)]


def drifted(scene: Scene, asked: Sequence[Row]) -> list[Row]:
    """Return rows, of which a share has the changed value."""
    _, feature, value, share = scene.change
    return [
        Row({**row.features, feature: value}, row.label) if chosen else row
        for row, chosen in zip(asked, coming.some(len(asked), share), strict=True)
    ]


def let_come(scene: Scene) -> None:
    """Write the rows that the next retraining reads, all of them or none.

    They are as many as it takes until the drifted rows have not drifted for the new champion. A
    retraining before fails, as there is nothing to read.

    Raises:
        UserError: a raw table has a key that cannot be made new.
    """
    project, asked = scene.project, _config(scene.project, scene.folder)
    with _store(project, scene.folder) as store:
        raw = {table.name: store.raw(table) for table in project.tables}
        known = store.features()
    amount = coming.amount(asked, known, coming.step(project, raw), scene.change.share)
    incoming, ready = scene.folder / INCOMING, scene.folder / RAW
    shutil.rmtree(incoming, ignore_errors=True)
    for name, new in coming.coming(project, raw, scene.change, amount).items():
        (incoming / name).mkdir(parents=True)
        new.drop(ORIGIN, POSITION, strict=False).write_parquet(incoming / name / "later.parquet")
    shutil.rmtree(ready, ignore_errors=True)
    incoming.rename(ready)


def _copy(folder: Path) -> None:
    """Copy what a project consists of; files of its data, which may be large, are links."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(MODE, parents=True)
    data = Path("data").absolute()

    def copy(source: str, target: str) -> None:
        if Path(source).absolute().is_relative_to(data):
            Path(target).symlink_to(Path(source).absolute())
        else:
            shutil.copy2(source, target)

    try:
        shutil.copytree(
            ".",
            folder,
            ignore=_unused,
            copy_function=copy,
            dirs_exist_ok=True,
            ignore_dangling_symlinks=True,
        )
    except (OSError, shutil.Error) as error:
        raise UserError(f"The project cannot be copied to {folder}: {error}") from None
    folder.chmod(MODE)
    (folder / "data").mkdir(exist_ok=True)


def _unused(folder: str, names: list[str]) -> set[str]:
    at_root = Path(folder) == Path()
    return {
        name
        for name in names
        if name == "__pycache__"
        or name.endswith(DATABASES)
        or (at_root and (name in UNUSED or name.startswith(".")))
    }


def _sources(project: Project) -> dict[str, str]:
    """Return where raw tables come from, as whole paths, since the copy is another folder."""
    addresses = {each.name: each.address for each in project.tables} | settings.read().addresses
    return {name: _absolute(address) for name, address in addresses.items()}


def _absolute(address: str) -> str:
    if address.startswith(SQLITE):
        return f"{SQLITE}{Path(address.removeprefix(SQLITE)).absolute()}"
    return address if "://" in address else str(Path(address).absolute())


def _environment(folder: Path, sources: Mapping[str, str]) -> dict[str, str]:
    """Return the settings by which a process uses the copy, and asks nobody else."""
    given = {
        "MODELS_DIR": str(folder / MODELS),
        "DATABASE_URL": _database(folder),
        "FEEDBACK_URL": f"{SQLITE}{folder}/data/feedback.db",
        "SOURCES": json.dumps(sources),
        "MLFLOW_URL": "",
        "RETRAIN_URL": "",
    }
    path = os.pathsep.join(filter(None, (str(folder / "src"), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, **{f"{PREFIX}{name}": value for name, value in given.items()}}


def _train(folder: Path, environment: Mapping[str, str]) -> None:
    """Train as `make train` does, in the copy.

    Raises:
        UserError: that failed; the message ends with what it said.
    """
    log = folder / LOG
    with log.open("wb") as said:
        done = subprocess.run(
            TRAIN,
            cwd=folder,
            env={**os.environ, **environment},
            stdout=said,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-LAST_LINES:]
        raise UserError("\n".join([f"The model could not be trained; see {log}:", *last]))


def _find(project: Project, folder: Path, store: Store) -> Change:
    graph, _ = registry.load(folder / MODELS)
    champion = Predictor(project.contract, graph)
    raw = {table.name: store.raw(table) for table in project.tables}
    known = _of_training(project, folder, store)
    return change.find(project, champion, raw, known, slo.read().drift.expected)


@contextmanager
def _store(project: Project, folder: Path) -> Iterator[Store]:
    store = Store(project, _database(folder))
    try:
        yield store
    finally:
        store.close()


def _database(folder: Path) -> str:
    return f"{SQLITE}{folder}/data/service.db"


def _config(project: Project, folder: Path) -> TrainingConfig:
    return config.read(project, folder / CONFIG)


def _of_training(project: Project, folder: Path, store: Store) -> pl.DataFrame:
    known = store.features()
    return known.filter(~Split.of(_config(project, folder)).is_test(known))
