"""The pages that are made from the code say what it says."""

import re
from pathlib import Path

import pytest

from chassis.flights import PROJECT
from ml_chassis import reference, slo
from ml_chassis.cli import main
from ml_chassis.settings import PREFIX, Settings
from render.engines import ROOT

PAGES = ROOT / "template" / "chassis" / "docs"


@pytest.mark.parametrize(
    ("path", "page"), reference.pages(PROJECT).items(), ids=["contract", "example"]
)
def test_the_page_is_current(path: Path, page: str) -> None:
    assert path.read_text(encoding="utf-8") == page, "run `make docs` and commit the page"


def test_the_pages_of_the_library_are_current() -> None:
    for path, page in reference.library_pages(PAGES, slo.read()).items():
        assert path.read_text(encoding="utf-8") == page, "run `make derive`"


def test_the_page_on_commands_names_all_of_them_and_their_options() -> None:
    page = (PAGES / "commands.md").read_text(encoding="utf-8")
    lines = {
        name: line for line, name in re.findall(r"^(\| `chassis ([a-z]+).*)$", page, re.MULTILINE)
    }

    assert list(lines) == list(main.commands)
    for name, command in main.commands.items():
        options = [option for each in command.params for option in each.opts if "--" in option]
        assert [option for option in options if option not in lines[name]] == []


def test_the_sizing_page_says_what_each_setting_does() -> None:
    page = (PAGES / "sizing.md").read_text(encoding="utf-8")

    assert [name for name in Settings.model_fields if f"`{PREFIX}{name.upper()}`" not in page] == []
