"""A page with a verdict as its title, and tables.

What is text is escaped, wherever it stands; only what is `Markup` is taken for HTML.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from markupsafe import Markup

STYLE = Path(__file__).with_name("page.css")
PAGE = Markup(
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "{refresh}<title>{title}</title><style>{style}</style></head>"
    '<body><h1 class="{kind}">{title}</h1>{parts}</body></html>\n'
)
REFRESH = Markup('<meta http-equiv="refresh" content="{}">')
NOTHING = Markup("")


def page(title: str, good: bool, parts: Iterable[str], refresh: int = 0) -> str:
    """Return a whole page.

    Args:
        title: What was found.
        good: Whether that is as it should be.
        parts: What stands below the title.
        refresh: Seconds until a browser asks for it again; 0 is never.
    """
    return PAGE.format(
        title=title,
        refresh=REFRESH.format(refresh) if refresh else NOTHING,
        style=Markup(STYLE.read_text(encoding="utf-8")),  # noqa: S704 - a file of ours
        kind="met" if good else "missed",
        parts=NOTHING.join(parts),
    )


def write(path: Path, text: str) -> None:
    """Write a page; make its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def heading(text: str) -> Markup:
    """Return what stands above a part of the page."""
    return Markup("<h2>{}</h2>").format(text)


def paragraph(text: str) -> Markup:
    """Return sentences."""
    return Markup("<p>{}</p>").format(text)


def code(text: str) -> Markup:
    """Return a name in the code or the data."""
    return Markup("<code>{}</code>").format(text)


def bold(text: object) -> Markup:
    """Return what is to be seen first."""
    return Markup("<b>{}</b>").format(text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    """Return a table; without a head where that is empty."""
    lines = [_row(head, Markup("<th>{}</th>"))] if head else []
    lines += [_row(row, Markup("<td>{}</td>")) for row in rows]
    return Markup('<div class="table"><table>{}</table></div>').format(NOTHING.join(lines))


def charts(drawn: Iterable[str]) -> Markup:
    """Return charts side by side, as many as the screen is wide."""
    return Markup('<div class="charts">{}</div>').format(NOTHING.join(drawn))


def state(met: bool | None, yes: str = "met", no: str = "MISSED") -> Markup:
    """Return the word for a condition that is met, missed or was not measured."""
    kind = {True: "met", False: "missed", None: "unknown"}[met]
    word = {True: yes, False: no, None: "not measured"}[met]
    return Markup('<span class="state {}">{}</span>').format(kind, word)


def _row(cells: Sequence[str], cell: Markup) -> Markup:
    return Markup("<tr>{}</tr>").format(NOTHING.join(map(cell.format, cells)))
