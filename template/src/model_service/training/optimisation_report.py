"""The report of `make optimise`: what each variant costs and what it loses."""

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from ..contract import QUALITY
from ..reports.chart import Axis, Series, draw, reach, reach_log
from ..reports.page import charts, page, state, table
from .config import OptimisationConfig
from .timing import SIZES
from .variants import Measured

HEAD = [
    "variant",
    "kB",
    "1 row, µs",
    "rows, µs",
    "times as fast",
    "loss more",
    QUALITY,
    "batch",
    "",
]
NO_INT8 = (
    "There is no variant in int8: trees compare numbers and hold no matrix product, which is all "
    "that quantization makes smaller and faster."
)


def render(asked: OptimisationConfig, measured: Sequence[Measured], sentence: str) -> str:
    """Return the page.

    Args:
        asked: [optimisation] of training.toml.
        measured: The full model, then others.
        sentence: What was chosen and why.
    """
    quantized = any(each.variant.name.endswith("int8") for each in measured)
    rows = f"{asked.rows} rows, µs"
    parts = [
        f"<p>{escape(sentence)}</p>",
        f"<p>A variant can be chosen if calls of {asked.rows} rows are certainly "
        f"{asked.minimum_speedup:g} times as fast, the mean loss per row certainly grows by no "
        f"more than {asked.maximum_loss:g}, and other rows in the same call change no answer by "
        f"more than {asked.maximum_batch_difference:g}. {escape(asked.reason)}</p>",
        table([rows if name == "rows, µs" else name for name in HEAD], _rows(asked, measured)),
        "" if quantized else f"<p>{NO_INT8}</p>",
        charts(_charts(measured)),
        "<p>Times are medians of calls of the graph alone, in one thread. The variants took turns, "
        "so that whatever else the machine did met all of them. Intervals hold 95 %.</p>",
    ]
    return page(f"Optimisation: {sentence.split(':')[0]}", True, parts)


def _rows(asked: OptimisationConfig, measured: Sequence[Measured]) -> Iterator[list[str]]:
    for each in measured:
        refused = f"{state(False)} {escape(each.refused)}" if each.refused else state(True)
        yield [
            escape(each.variant.name),
            f"{len(each.variant.graph) / 1e3:.1f}",
            f"{_median(each, 1) * 1e6:.1f}",
            f"{_median(each, asked.rows) * 1e6:.0f}",
            str(each.speedup),
            str(each.lost),
            f"{each.quality:.4f}",
            f"{each.batch_difference:.2g}",
            refused,
        ]


def _charts(measured: Sequence[Measured]) -> Iterator[str]:
    across = Axis(1, SIZES[-1], log=True)
    rates = [
        Series(each.variant.name, [(size, size / _median(each, size)) for size in SIZES])
        for each in measured
    ]
    up = reach_log([rate for one in rates for _, rate in one.points])
    yield draw("Rows per second, by the rows of a call", rates, [], across, up)
    times = [
        Series(each.variant.name, [(size, _median(each, size) * 1e3) for size in SIZES])
        for each in measured
    ]
    slowest = reach_log([time for one in times for _, time in one.points])
    yield draw("Time of a call, ms, by its rows", times, [], across, slowest)
    sizes = [len(each.variant.graph) / 1e3 for each in measured]
    losses = [each.loss for each in measured]
    low, high = min(losses), max(losses)
    pad = 0.1 * (high - low) or 0.1
    points = [
        Series(each.variant.name, [(size, loss)], "points")
        for each, size, loss in zip(measured, sizes, losses, strict=True)
    ]
    title = "Mean loss per row, by the size in kB"
    yield draw(title, points, [], reach(sizes), Axis(low - pad, high + pad))


def _median(each: Measured, rows: int) -> float:
    return float(np.median(each.seconds[rows]))
