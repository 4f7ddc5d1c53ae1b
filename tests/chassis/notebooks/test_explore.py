"""The notebook runs from its first cell to its last, and is stored without what it showed."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from chassis.flights import CONTRACT
from ml_chassis.testing import Trained

FEATURES = CONTRACT.features

NOTEBOOK = Path("notebooks/explore.ipynb")
SECONDS = 120


@pytest.mark.slow
def test_every_cell_runs(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    database = trained.models.parent / "service.db"
    monkeypatch.setenv("MODEL_SERVICE_DATABASE_URL", f"sqlite:///{database}")
    monkeypatch.setenv("MODEL_SERVICE_MODELS_DIR", str(trained.models))
    notebook = nbformat.read(NOTEBOOK, as_version=4)

    place = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=SECONDS, resources=place).execute()

    *_, last = (cell for cell in notebook.cells if cell.cell_type == "code")
    (shown,) = last.outputs
    assert all(each.name in shown.data["text/html"] for each in FEATURES)


def test_it_is_stored_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]

    assert [cell["outputs"] for cell in code if cell["outputs"] or cell["execution_count"]] == []


def test_it_names_no_feature() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")

    assert [each.name for each in FEATURES if f'\\"{each.name}\\"' in text] == []
