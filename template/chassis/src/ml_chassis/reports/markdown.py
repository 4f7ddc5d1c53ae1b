"""Tables of Markdown pages."""

from collections.abc import Iterable, Iterator, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; what would end a cell or a line does not."""
    yield f"| {' | '.join(head)} |"
    yield "|".join(["", *("---" for _ in head), ""])
    for row in rows:
        cells = (" ".join(cell.replace("|", "\\|").splitlines()) for cell in row)
        yield f"| {' | '.join(cells)} |"
