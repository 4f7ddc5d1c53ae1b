"""The page of a retraining, for people who ask why the champion changed, or did not."""

from collections.abc import Iterator
from html import escape

from ..reports.page import page, table
from .comparison import Comparison
from .measures import Measures
from .report import GATE, gate_row
from .result import Result
from .shift import Shift

GOOD = {"nothing_new", "promoted"}


def render(by: Measures, result: Result) -> str:
    """Return the page."""
    title = f"Retraining: {result.outcome.replace('_', ' ')}"
    parts = [
        f"<p>{escape(result.reason)}.</p>",
        table([], _about(result)),
        "<h2>New data</h2>",
        table(
            ["origin", "rows", "refused"],
            (
                [f"<code>{escape(origin)}</code>", f"{rows:,}", f"{refused:,}"]
                for origin, (rows, refused) in result.read.items()
            ),
        ),
        "<h2>Drift since the champion was trained</h2>",
        "<p>The population stability index (PSI) of rows about a time after those of the champion, "
        "compared with those that it was trained on; none where rows know no time. It is above its "
        "threshold where the difference is more than chance, and matters.</p>",
        table(
            ["feature", "PSI", "threshold", "drift", "bin that grew most"],
            map(_shift, result.drift),
        ),
        "<h2>Champion and challenger</h2>",
        *(_comparison(by, result.comparison) if result.comparison else ["<p>Not compared.</p>"]),
        "<h2>Gates</h2>",
        table(GATE, map(gate_row, result.gates)),
    ]
    return page(title, result.outcome in GOOD, parts)


def _about(result: Result) -> Iterator[list[str]]:
    ended = result.ended_at or result.started_at
    yield ["run by", escape(result.who)]
    yield ["ended", f"{ended:%Y-%m-%d %H:%M} UTC"]
    yield ["champion before", result.champion or "none"]
    yield ["challenger", result.challenger or "none"]
    yield ["rows with labels", f"{result.rows:,}, of which {result.new_rows:,} are new"]
    yield ["compared on rows", result.evaluated_on]
    if result.gates:
        yield ["how it was trained", "<code>training.html</code> beside this page"]


def _shift(shift: Shift) -> list[str]:
    numbers = (f"{shift.index:.3f}", f"{shift.limit:.3f}")
    word = "<b>drifted</b>" if shift.drifted else ""
    return [f"<code>{escape(shift.feature)}</code>", *numbers, word, escape(shift.grown)]


def _comparison(by: Measures, found: Comparison) -> Iterator[str]:
    yield f"<p>On the same {found.rows:,} rows, which neither was trained on.</p>"
    yield table(
        ["model", by.quality_words, by.loss_words],
        (
            [name, str(quality.quality), str(quality.loss)]
            for name, quality in (("champion", found.champion), ("challenger", found.challenger))
        ),
    )
    yield (
        f"<p>The challenger's {by.loss_words} is lower by <b>{found.gain}</b>; paired test, "
        f"p = {found.p_value:.2g}.</p>"
    )
