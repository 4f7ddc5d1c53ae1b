"""The scene of the story: a copy of the project, what is asked there, and what drifts."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ... import registry, slo
from ...data.store import Store
from ...data.tables import ORIGIN, POSITION
from ...project import Project
from ...serving.predictor import Predictor
from . import change, coming, copied
from .coming import Change
from .copied import Copy, Row

RAW, INCOMING = "raw", ".raw"


class Scene(NamedTuple):
    """Where the story takes place.

    Attributes:
        copy: Of the project.
        change: What drifts.
    """

    copy: Copy
    change: Change


def make(project: Project, folder: Path) -> Scene:
    """Copy the project in the working folder, train its model there, and find what will drift.

    Args:
        project: The project.
        folder: Of the copy; what is in it is removed first.

    Raises:
        UserError: the model cannot be trained, or nothing can drift.
    """
    made = copied.copy(project, folder)
    copied.train(made)
    with made.store() as store:
        found = _find(made, store)
    raw = made.folder / RAW
    later = {each.name: str(raw / each.name) for each in coming.tables(project, found)}
    return Scene(made.from_sources(later), found)


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
    project, asked = scene.copy.project, scene.copy.config
    with scene.copy.store() as store:
        raw = {table.name: store.raw(table) for table in project.tables}
        known = store.features()
    amount = coming.amount(asked, known, coming.step(project, raw), scene.change.share)
    incoming, ready = scene.copy.folder / INCOMING, scene.copy.folder / RAW
    shutil.rmtree(incoming, ignore_errors=True)
    for name, new in coming.coming(project, raw, scene.change, amount).items():
        (incoming / name).mkdir(parents=True)
        new.drop(ORIGIN, POSITION, strict=False).write_parquet(incoming / name / "later.parquet")
    shutil.rmtree(ready, ignore_errors=True)
    incoming.rename(ready)


def _find(made: Copy, store: Store) -> Change:
    graph, _ = registry.load(made.models)
    champion = Predictor(made.project.contract, graph)
    raw = {table.name: store.raw(table) for table in made.project.tables}
    known = copied.of_training(made, store)
    return change.find(made.project, champion, raw, known, slo.read().drift.expected)
