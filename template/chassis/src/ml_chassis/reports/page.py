"""A page with a verdict as its title, and tables; all cells and parts are HTML already."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("page.css")


def page(title: str, good: bool, parts: Iterable[str]) -> str:
    """Return a whole page.

    Args:
        title: What was found, as text.
        good: Whether that is as it should be.
        parts: What stands below the title.
    """
    title = escape(title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f'<body><h1 class="{"met" if good else "missed"}">{title}</h1>'
        f"{''.join(parts)}</body></html>\n"
    )


def write(path: Path, text: str) -> None:
    """Write a page; make its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; without a head where that is empty."""
    lines = [_row(head, "th")] if head else []
    lines += [_row(row, "td") for row in rows]
    return f'<div class="table"><table>{"".join(lines)}</table></div>'


def charts(drawn: Iterable[str]) -> str:
    """Return charts side by side, as many as the screen is wide."""
    return f'<div class="charts">{"".join(drawn)}</div>'


def state(met: bool | None, yes: str = "met", no: str = "MISSED") -> str:
    """Return the word for a condition that is met, missed or was not measured."""
    kind = {True: "met", False: "missed", None: "unknown"}[met]
    word = {True: yes, False: no, None: "not measured"}[met]
    return f'<span class="state {kind}">{word}</span>'


def _row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"
