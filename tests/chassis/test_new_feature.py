"""A feature that is declared in schema.py and built in features.py arrives everywhere."""

import ast
import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import nbformat
import pytest
from nbclient import NotebookClient

from chassis.copies import copied, run, settings_of
from ml_chassis.batch.writing import refused_path
from ml_chassis.testing import SERVE, start_service

pytestmark = pytest.mark.slow

DECLARED = '    added: float = Field(ge=0, le=1, description="One more.", examples=[0.5])'
BUILT = """

_build = build


def build(tables):
    return _build(tables).with_columns(added=nw.lit(0.5))
"""
NOTEBOOK = Path("notebooks/explore.ipynb")
TRAIN = """
import json, sys
from pathlib import Path
import narwhals.stable.v2 as nw
import onnx
import polars as pl
from ml_chassis import project, registry
from ml_chassis.contract import NUMERIC_INPUT
from ml_chassis.data.clean import REASON, clean
from ml_chassis.data.store import Store
from ml_chassis.loading.payloads import rows
from ml_chassis.reference import data_contract
from ml_chassis.serving.messages import RefusedError
from ml_chassis.streaming.events import EventReader, Received
from ml_chassis.training import config
from ml_chassis.training.train import prepare, register

PROJECT = project.read()
CONTRACT = PROJECT.contract

def event(**changes):
    body = json.dumps({"id": "a", "row": CONTRACT.example_row() | changes}).encode()
    try:
        found = EventReader(CONTRACT, 10_000).read(Received("events", body))
        return found.row[CONTRACT.numeric.index("added")]
    except RefusedError as error:
        return [problem.field for problem in error.refusal.problems]

folder = Path(sys.argv[1])
store = Store(PROJECT, f"sqlite:///{folder}/data/service.db")
asked = {"gates": {}, "evaluation": config.EvaluationConfig()}  # how good it is does not matter
prepared = prepare(config.read(PROJECT).model_copy(update=asked), store, folder / "models")
manifest = register(CONTRACT, prepared, folder / "models")
graph = onnx.load_from_string(registry.load(folder / "models")[0])
impossible = store.features().head(1).with_columns(added=pl.lit(2.0))
told = {
    "refused": clean(nw.from_native(impossible.lazy()), CONTRACT.labelled).quarantined[REASON][0],
    "inputs": {each.key: each.value.split(",") for each in graph.metadata_props}[NUMERIC_INPUT],
    "drift": manifest.reference.numeric["added"].edges,
    "example": CONTRACT.example_row(),
    "payloads": rows(CONTRACT, 200),
    "page": data_contract(PROJECT),
    "event": event(),
    "dead_letter": event(added=2),
}
(folder / "told.json").write_text(json.dumps(told))
"""


@dataclass(frozen=True)
class Project:
    """A copy of the package with one more feature, what it was trained to, and what it told."""

    folder: Path
    told: dict[str, Any]

    @property
    def settings(self) -> dict[str, str]:
        return settings_of(self.folder)


def copy_package(folder: Path) -> Path:
    """Return the package in a copy of the project, whose schema declares one more feature."""
    package = copied(folder)
    schema = package / "schema.py"
    lines = schema.read_text(encoding="utf-8").splitlines()
    (features,) = (
        each
        for each in ast.parse("\n".join(lines)).body
        if isinstance(each, ast.ClassDef) and each.name == "Features"
    )
    lines.insert(features.end_lineno or 0, DECLARED)
    schema.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return package


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    with (copy_package(folder) / "features.py").open("a", encoding="utf-8") as features:
        features.write(BUILT)
    trained = run(folder, "-c", TRAIN, str(folder))
    assert trained.returncode == 0, trained.stderr
    return Project(folder, json.loads((folder / "told.json").read_text()))


@pytest.fixture(scope="module")
def client(project: Project) -> Iterator[httpx.Client]:
    models, home = project.folder / "models", project.folder / "home"
    with contextlib.chdir(project.folder):
        service = start_service(models, home, SERVE, None, **project.settings)
    with httpx.Client(base_url=service.url, timeout=10) as connected:
        yield connected
    service.process.terminate()
    assert service.process.wait(timeout=30) == 0


def test_what_is_declared_and_not_built_is_named(tmp_path: Path) -> None:
    copy_package(tmp_path)

    found = run(tmp_path, "-m", "ml_chassis", "data")

    assert found.returncode == 1
    assert "The schema declares added: build it with the other features." in found.stderr


def test_training_reads_checks_and_learns_it(project: Project) -> None:
    with closing(sqlite3.connect(project.folder / "data" / "service.db")) as database:
        assert list(database.execute("SELECT DISTINCT added FROM features")) == [(0.5,)]
    assert project.told["refused"] == "added: above 1"
    assert project.told["inputs"][-1] == "added"
    assert project.told["drift"] == [0.5]


def test_requests_and_their_description_hold_it(project: Project, client: httpx.Client) -> None:
    described = client.get("/docs.json").json()["components"]["schemas"]
    fields = [each["properties"] for each in described.values() if "properties" in each]
    found = [each["added"] for each in fields if "added" in each]
    assert {(each["minimum"], each["maximum"]) for each in found} == {(0, 1)}

    row = project.told["example"]
    assert row["added"] == 0.5
    assert client.post("/predict", json={"rows": [row]}).is_success
    answers = [
        client.post("/predict", json={"rows": [row, changed]})
        for changed in (row | {"added": 2}, {k: v for k, v in row.items() if k != "added"})
    ]
    assert {each.status_code for each in answers} <= {400, 422}
    problems = [each.json()["problems"] for each in answers]
    assert [(each["row"], each["field"]) for (each,) in problems] == [(1, "added")] * 2


def test_its_drift_is_measured(client: httpx.Client) -> None:
    assert 'feature="added"' in client.get("/metrics").text


def test_events_hold_it(project: Project) -> None:
    assert project.told["event"] == 0.5
    assert project.told["dead_letter"] == ["row.added"]


def test_the_load_test_sends_it(project: Project, client: httpx.Client) -> None:
    payloads = project.told["payloads"]

    assert {0, 1} < {row["added"] for row in payloads}
    assert client.post("/predict", json={"rows": payloads}).is_success


def test_files_are_scored_with_it(project: Project) -> None:
    rows = project.told["payloads"]
    source, target = project.folder / "in.jsonl", project.folder / "out.jsonl"
    rows = [*rows, rows[0] | {"added": 2}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    done = run(project.folder, "-m", "ml_chassis", "score", str(source), str(target))

    assert done.returncode == 0, done.stderr
    assert len(target.read_text().splitlines()) == len(rows) - 1
    assert '"reason": "added: ' in refused_path(target).read_text()


def test_the_data_contract_explains_it(project: Project) -> None:
    assert "| `added` | number | from 0 to 1 | no | One more. |" in project.told["page"]


def test_the_notebook_shows_it(project: Project) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)

    place = {"metadata": {"path": str(project.folder / NOTEBOOK.parent)}}
    client = NotebookClient(notebook, timeout=120, resources=place)
    client.execute(env={**os.environ, **project.settings})

    *_, last = (cell for cell in notebook.cells if cell.cell_type == "code")
    assert "added" in last.outputs[0].data["text/html"]
