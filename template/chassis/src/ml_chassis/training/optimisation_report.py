"""The report of `make optimise`: what each variant costs and what it loses."""

from collections.abc import Iterator, Sequence

import numpy as np
from markupsafe import Markup

from ..contract import Contract
from ..measures import measures_of
from ..reports.chart import Axis, Series, draw, reach, reach_log
from ..reports.page import charts, page, paragraph, state, table
from .config import OptimisationConfig
from .timing import SIZES
from .variants import Measured

NO_INT8 = (
    "There is no variant in int8: trees compare numbers and hold no matrix product, which is all "
    "that quantization makes smaller and faster."
)


def render(
    contract: Contract, asked: OptimisationConfig, measured: Sequence[Measured], sentence: str
) -> str:
    """Return the page.

    Args:
        contract: The schema.
        asked: [optimisation] of training.toml.
        measured: The full model, then others.
        sentence: What was chosen and why.
    """
    quantized = any(each.variant.name.endswith("int8") for each in measured)
    by = measures_of(contract.task)
    head = [
        *("variant", "size, kB", "latency of 1 row, µs", f"of {asked.rows} rows, µs", "speedup"),
        *(f"{by.loss_words} increase", by.quality_words, "batch difference", "eligible"),
    ]
    parts = [
        paragraph(sentence),
        paragraph(
            f"A variant is eligible if its speedup for calls of {asked.rows} rows is at least "
            f"{asked.minimum_speedup:g}, its {by.loss_words} increases by no more than "
            f"{asked.maximum_loss:g}, both at the cautious end of the interval, and other rows in "
            f"the same call change no answer by more than {asked.maximum_batch_difference:g} "
            f"(batch difference). {asked.reason}"
        ),
        table(head, _rows(asked, measured)),
        *([] if quantized else [paragraph(NO_INT8)]),
        charts(_charts(by.loss_words, measured)),
        paragraph(
            "Latencies are medians of calls of the graph alone, in one thread, interleaved over "
            "the variants. Intervals are 95 % bootstrap intervals."
        ),
    ]
    return page(f"Optimisation: {sentence.split(':')[0]}", True, parts)


def _rows(asked: OptimisationConfig, measured: Sequence[Measured]) -> Iterator[list[str]]:
    for each in measured:
        refused = Markup("{} {}").format(state(False, no="no"), each.refused)
        eligible = refused if each.refused else state(True, "yes")
        yield [
            each.variant.name,
            f"{len(each.variant.graph) / 1e3:.1f}",
            f"{_median(each, 1) * 1e6:.1f}",
            f"{_median(each, asked.rows) * 1e6:.0f}",
            str(each.speedup),
            str(each.lost),
            f"{each.quality:.4f}",
            f"{each.batch_difference:.2g}",
            eligible,
        ]


def _charts(loss: str, measured: Sequence[Measured]) -> Iterator[Markup]:
    across = Axis(1, SIZES[-1], log=True, label="rows per call")
    rates = [
        Series(each.variant.name, [(size, size / _median(each, size)) for size in SIZES])
        for each in measured
    ]
    up = reach_log([rate for one in rates for _, rate in one.points])
    yield draw("Throughput by batch size, rows per second", rates, [], across, up)
    times = [
        Series(each.variant.name, [(size, _median(each, size) * 1e3) for size in SIZES])
        for each in measured
    ]
    slowest = reach_log([time for one in times for _, time in one.points])
    yield draw("Latency by batch size, ms", times, [], across, slowest)
    sizes = [len(each.variant.graph) / 1e3 for each in measured]
    losses = [each.loss for each in measured]
    low, high = min(losses), max(losses)
    pad = 0.1 * (high - low) or 0.1
    points = [
        Series(each.variant.name, [(size, loss)], "points")
        for each, size, loss in zip(measured, sizes, losses, strict=True)
    ]
    size = reach(sizes)._replace(label="kB")
    title = f"{loss.capitalize()} by model size"
    yield draw(title, points, [], size, Axis(low - pad, high + pad))


def _median(each: Measured, rows: int) -> float:
    return float(np.median(each.seconds[rows]))
