"""A copy of the project in the working folder, in which models are trained and served for show."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from ... import settings
from ...data.store import Store
from ...errors import UserError
from ...project import Project
from ...settings import PREFIX
from ...training import config
from ...training.config import CONFIG, TrainingConfig
from ...training.split import Split

TRAIN = (sys.executable, "-m", "ml_chassis", "train")
LOG = "train.log"
LAST_LINES = 10
SQLITE = "sqlite:///"
MODELS = "models"
SEED = 1
UNUSED = {"build", "chassis", "dist", "env", "mlruns", "node_modules", "venv", MODELS}
"""What of the root of a project is not copied, beside all that is hidden."""
DATABASES = (".db", ".db-journal", ".db-shm", ".db-wal")
"""How files of SQLite end: the copy has its own."""
MOST_ROWS = 10_000
"""Rows that are asked, again and again."""
MODE = 0o700
"""Rows may hold personal values."""


class Copy(NamedTuple):
    """A copy of a project.

    Attributes:
        project: The project.
        folder: Of the copy, in which all commands run, so that nothing of the project is changed.
        environment: Settings by which they use what is in the copy, and ask nobody else.
    """

    project: Project
    folder: Path
    environment: dict[str, str]

    @property
    def models(self) -> Path:
        """The registry of the copy."""
        return self.folder / MODELS

    @property
    def config(self) -> TrainingConfig:
        """What its training.toml says."""
        return config.read(self.project, self.folder / CONFIG)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Open its data."""
        store = Store(self.project, _database(self.folder))
        try:
            yield store
        finally:
            store.close()

    def from_sources(self, addresses: Mapping[str, str]) -> "Copy":
        """Return a copy whose raw tables of these names come from there."""
        name = f"{PREFIX}SOURCES"
        sources = json.loads(self.environment[name]) | {**addresses}
        return self._replace(environment={**self.environment, name: json.dumps(sources)})


class Row(NamedTuple):
    """What is asked, and what turns out to be true, as JSON has them."""

    features: dict[str, Any]
    label: Any


def copy(project: Project, folder: Path) -> Copy:
    """Copy the project in the working folder.

    Args:
        project: The project.
        folder: Of the copy; what is in it is removed first.

    Raises:
        UserError: it cannot be copied.
    """
    folder = folder.absolute()
    _copy(folder)
    return Copy(project, folder, _environment(folder, _sources(project)))


def train(copied: Copy) -> None:
    """Train as `make train` does, in the copy.

    Raises:
        UserError: that failed; the message ends with what it said.
    """
    log = copied.folder / LOG
    with log.open("wb") as said:
        done = subprocess.run(
            TRAIN,
            cwd=copied.folder,
            env={**os.environ, **copied.environment},
            stdout=said,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-LAST_LINES:]
        raise UserError("\n".join([f"The model could not be trained; see {log}:", *last]))


def rows(copied: Copy) -> list[Row]:
    """Return rows that its first champion was trained on, in a random order, always the same.

    Raises:
        UserError: they cannot be read.
    """
    contract = copied.project.contract
    with copied.store() as store:
        found = of_training(copied, store)
    found = found.sample(min(found.height, MOST_ROWS), shuffle=True, seed=SEED)
    features = found.select(each.name for each in contract.features).to_dicts()
    return [Row(*both) for both in zip(features, found[contract.label].to_list(), strict=True)]


def of_training(copied: Copy, store: Store) -> pl.DataFrame:
    """Return the rows that its champion was trained on."""
    known = store.features()
    return known.filter(~Split.of(copied.config).is_test(known))


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


def _database(folder: Path) -> str:
    return f"{SQLITE}{folder}/data/service.db"
