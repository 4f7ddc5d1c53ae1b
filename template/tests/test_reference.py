"""The generated pages say what the code says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model_service.reference import PAGES, SIZING
from model_service.settings import PREFIX, Settings


@pytest.mark.parametrize(("path", "page"), PAGES.items(), ids=map(str, PAGES))
def test_the_page_is_current(path: Path, page: Callable[[], str]) -> None:
    assert path.read_text(encoding="utf-8") == page(), "run `make docs` and commit the page"


def test_the_sizing_page_says_what_each_setting_does() -> None:
    page = SIZING.read_text(encoding="utf-8")

    assert [name for name in Settings.model_fields if f"`{PREFIX}{name.upper()}`" not in page] == []
