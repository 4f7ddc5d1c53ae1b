"""The notebook holds for any schema; a project's own tests run it."""

from pathlib import Path

from chassis.flights import CONTRACT

NOTEBOOK = Path("notebooks/explore.ipynb")


def test_it_names_no_feature() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")

    assert [each.name for each in CONTRACT.features if f'\\"{each.name}\\"' in text] == []
