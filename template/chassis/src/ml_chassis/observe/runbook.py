"""What the runbook of a project says of an alert, as a page shows it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

from ..monitoring.rules.rule import RUNBOOK

SECTION = re.compile(r"^## (\w+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
PLACEHOLDER = "NAME"
"""Stands in queries for the feature that the alert is about."""
MARKDOWN = MarkdownIt("commonmark", {"html": False})


def sections(path: Path = Path(RUNBOOK)) -> dict[str, str]:
    """Return its sections by the name of their alert, in Markdown; where there is none, none."""
    try:
        written = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return {}
    return {name: said.strip() for name, said in SECTION.findall(written)}


def render(section: str, labels: Mapping[str, str]) -> Markup:
    """Return a section as HTML, about the feature of an alert where it has one.

    Args:
        section: In Markdown; what is HTML in it is shown and not used.
        labels: Of the alert.
    """
    if feature := labels.get("feature"):
        quoted = json.dumps(feature, ensure_ascii=False)
        section = section.replace(f'"{PLACEHOLDER}"', quoted)
    return Markup(MARKDOWN.render(section))  # noqa: S704 - the renderer escapes what is text
