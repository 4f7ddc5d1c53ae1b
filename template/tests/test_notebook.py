"""The notebook runs, from its first cell to its last; holds for any schema."""

from pathlib import Path

import nbformat
import pytest
from ml_chassis.testing import Trained
from nbclient import NotebookClient
from nbformat import NotebookNode

CELL_SECONDS = 120


@pytest.fixture
def notebook() -> NotebookNode:
    """Return the notebook."""
    stored: NotebookNode = nbformat.read(Path("notebooks/explore.ipynb"), as_version=4)
    return stored


def code(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the cells that are run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_cell_runs(
    notebook: NotebookNode, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = trained.models.parent / "service.db"
    monkeypatch.setenv("MODEL_SERVICE_DATABASE_URL", f"sqlite:///{database}")
    monkeypatch.setenv("MODEL_SERVICE_MODELS_DIR", str(trained.models))

    NotebookClient(notebook, timeout=CELL_SECONDS).execute()

    assert all(cell.execution_count for cell in code(notebook))


def test_it_is_stored_without_what_it_showed(notebook: NotebookNode) -> None:
    assert not any(cell.outputs or cell.execution_count for cell in code(notebook))
