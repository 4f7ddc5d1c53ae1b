"""The page of a retraining, for people who ask why the champion changed, or did not."""

from collections.abc import Iterator

from markupsafe import Markup

from ..measures import Measures
from ..reports.page import bold, code, heading, page, paragraph, table
from .comparison import Comparison
from .report import GATE, gate_row
from .result import Result
from .shift import Shift

GOOD = {"nothing_new", "promoted"}


def render(by: Measures, result: Result) -> str:
    """Return the page."""
    title = f"Retraining: {result.outcome.replace('_', ' ')}"
    parts = [
        paragraph(f"{result.reason}."),
        table([], _about(result)),
        heading("New data"),
        table(
            ["origin", "rows", "refused"],
            (
                [code(origin), f"{rows:,}", f"{refused:,}"]
                for origin, (rows, refused) in result.read.items()
            ),
        ),
        heading("Drift since the champion was trained"),
        paragraph(
            "The population stability index (PSI) of rows about a time after those of the "
            "champion, compared with those that it was trained on; none where rows know no time. "
            "It is above its threshold where the difference is more than chance, and matters."
        ),
        table(
            ["feature", "PSI", "threshold", "drift", "bin that grew most"],
            map(_shift, result.drift),
        ),
        heading("Champion and challenger"),
        *(
            _comparison(by, result.comparison)
            if result.comparison
            else [paragraph("Not compared.")]
        ),
        heading("Gates"),
        table(GATE, map(gate_row, result.gates)),
    ]
    return page(title, result.outcome in GOOD, parts)


def _about(result: Result) -> Iterator[list[str]]:
    ended = result.ended_at or result.started_at
    yield ["run by", result.who]
    yield ["ended", f"{ended:%Y-%m-%d %H:%M} UTC"]
    yield ["champion before", result.champion or "none"]
    yield ["challenger", result.challenger or "none"]
    yield ["rows with labels", f"{result.rows:,}, of which {result.new_rows:,} are new"]
    yield ["compared on rows", result.evaluated_on]
    if result.gates:
        yield ["how it was trained", code("training.html") + " beside this page"]


def _shift(shift: Shift) -> list[str]:
    numbers = (f"{shift.index:.3f}", f"{shift.limit:.3f}")
    word = bold("drifted") if shift.drifted else ""
    return [code(shift.feature), *numbers, word, shift.grown]


def _comparison(by: Measures, found: Comparison) -> Iterator[Markup]:
    yield paragraph(f"On the same {found.rows:,} rows, which neither was trained on.")
    yield table(
        ["model", by.quality_words, by.loss_words],
        (
            [name, str(quality.quality), str(quality.loss)]
            for name, quality in (("champion", found.champion), ("challenger", found.challenger))
        ),
    )
    yield Markup(
        "<p>The challenger's gain in {} is <b>{}</b>; paired test, p = {:.2g}.</p>"
    ).format(by.loss_words, found.gain, found.p_value)
