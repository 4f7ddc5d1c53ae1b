"""A real browser that looks at a page."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PROGRAMS = ("chromium", "google-chrome")
LOOK = """
<iframe id="seen" style="width: {width}px; height: 800px; border: 0" srcdoc="{page}"></iframe>
<script>
addEventListener("load", () => {{
  const page = document.getElementById("seen").contentDocument;
  const style = (each) => page.defaultView.getComputedStyle(each);
  const drawn = [...page.querySelectorAll("svg")].map((each) => each.getBoundingClientRect());
  const texts = [...page.querySelectorAll("svg text")].filter((each) => each.textContent);
  const lines = [...page.querySelectorAll(".mark-line path, .mark-rect path")];
  document.title = JSON.stringify({{
    width: page.documentElement.scrollWidth,
    background: style(page.body).backgroundColor,
    charts: drawn.filter((each) => each.width > 200 && each.height > 100).length,
    text: Math.min(...texts.map((each) => each.getBoundingClientRect().height)),
    colours: [...new Set(lines.map((each) => [style(each).stroke, style(each).fill]).flat())],
  }});
}});
</script>
"""


class Seen(NamedTuple):
    """What a page looks like.

    Attributes:
        width: Pixels that it takes; more than it has is scrolled.
        background: Colour.
        charts: How many are large enough to be seen.
        text: Height of the smallest text in a chart, in pixels.
        colours: Of what is drawn in the charts.
    """

    width: int
    background: str
    charts: int
    text: float
    colours: list[str]


def look(page: str, folder: Path, *, width: int, dark: bool = False) -> Seen:
    """Return what a browser without a network shows of a page."""
    wrapped = folder / "look.html"
    wrapped.write_text(LOOK.format(width=width, page=html.escape(page)), encoding="utf-8")
    options = [
        "--headless=new",
        "--no-sandbox",  # tests may run as root
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        f"--user-data-dir={folder}/browser",
        "--virtual-time-budget=60000",
        "--dump-dom",
    ]
    done = subprocess.run(
        [_program(), *options, wrapped.as_uri()], capture_output=True, text=True, check=True
    )
    found: Any = re.search("<title>(.*?)</title>", done.stdout)
    assert found, done.stderr
    return Seen(**json.loads(html.unescape(found[1])))


def _program() -> str:
    for name in PROGRAMS:
        if found := shutil.which(name):
            return found
    assert "REQUIRE_SERVERS" not in os.environ, "there is no chromium"
    pytest.skip("NOT TESTED: there is no chromium")
