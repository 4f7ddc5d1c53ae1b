"""The page of a retraining, for people who ask why the champion changed, or did not."""

from collections.abc import Iterator
from html import escape

from ..reports.page import page, state, table
from .comparison import Comparison
from .measures import LOSS_WORDS, QUALITY_WORDS
from .result import Result
from .shift import Shift

GOOD = {"nothing_new", "promoted"}


def render(result: Result) -> str:
    """Return the page."""
    title = f"Retraining: {result.outcome.replace('_', ' ')}"
    parts = [
        f"<p>{escape(result.reason)}.</p>",
        table([], _about(result)),
        "<h2>What came in</h2>",
        table(
            ["origin", "rows", "refused"],
            (
                [f"<code>{escape(origin)}</code>", f"{rows:,}", f"{refused:,}"]
                for origin, (rows, refused) in result.read.items()
            ),
        ),
        "<h2>Drift since the champion was trained</h2>",
        "<p>Of rows about a time after those of the champion, compared with those that it was "
        "trained on; none where rows know no time. The index is above its limit where the "
        "difference is more than chance, and matters.</p>",
        table(["feature", "index", "limit", "", "grown most"], map(_shift, result.drift)),
        "<h2>Champion and challenger</h2>",
        *(_comparison(result.comparison) if result.comparison else ["<p>Not compared.</p>"]),
        "<h2>Gates</h2>",
        table(
            ["gate", "asked", "found", "", "why"],
            (
                [
                    *(f"<code>{gate.name}</code>", gate.condition),
                    "" if gate.value is None else f"<b>{gate.value:.4g}</b>",
                    *(state(gate.passed), escape(gate.limit.reason)),
                ]
                for gate in result.gates
            ),
        ),
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


def _comparison(found: Comparison) -> Iterator[str]:
    yield f"<p>On the same {found.rows:,} rows, which neither was trained on.</p>"
    yield table(
        ["", QUALITY_WORDS, LOSS_WORDS],
        (
            [name, str(quality.quality), str(quality.loss)]
            for name, quality in (("champion", found.champion), ("challenger", found.challenger))
        ),
    )
    yield (
        f"<p>The challenger's {LOSS_WORDS} is lower by <b>{found.gain}</b>; chance alone makes "
        f"such a difference with a probability of {found.p_value:.2g}, by a paired test.</p>"
    )
