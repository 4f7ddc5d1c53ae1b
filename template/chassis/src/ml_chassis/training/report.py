"""The report of a training run, for the people who decide whether the model is worth serving."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import numpy as np
from markupsafe import Markup

from ..measures import Measures, measures_of
from ..reports.chart import Axis, Mark, Series, draw, named, reach
from ..reports.page import bold, charts, code, heading, page, paragraph, state, table
from .candidate import Candidate
from .config import TrainingConfig
from .diagnostics import Diagnostics
from .evaluation import Evaluation, Importance, Slice
from .gates import Gate
from .split import Split

BASELINES = {
    "base_rate": "the base rate, the mean of training",
    "simple_model": "the simple model, a linear one",
    "champion": "the champion",
}
SHOWN_CLASSES = 20
GATE = ["gate", "threshold", "measured", "passed", "reason"]
"""Head of a table of gates."""


def render(config: TrainingConfig, candidate: Candidate) -> str:
    """Return the page."""
    found, failed = candidate.evaluation, candidate.failed
    by = measures_of(config.project.contract.task)
    missed = f"{len(failed)} of {len(candidate.gates)} gates FAILED"
    title = f"Training: {missed if failed else 'all gates passed'}"
    rows, split = candidate.facts["rows"], Split.of(config)
    about = (
        f"{config.project.estimator_name}, fitted on {rows['train']:,} rows {split.train}, "
        f"evaluated on {rows['test']:,} rows {split.test}. Intervals are 95 % bootstrap intervals."
    )
    parts = [
        paragraph(about),
        heading("Gates"),
        table(GATE, map(gate_row, candidate.gates)),
        heading("Expected value of a decision"),
        *_decision(config, found),
        charts(_charts(config, by, found)),
        *_confusion(config, found.diagnostics),
        heading("Baselines"),
        table(["metric", "value (95 % interval)"], _gains(by, found)),
        *_slices(by, [*found.months, *found.slices]),
        heading("Permutation importance and cost of features"),
        table(
            [
                *("feature", f"increase in {by.loss_words}"),
                *("bytes in a request", "distinct values", "missing"),
            ],
            map(_feature, found.importance),
        ),
    ]
    return page(title, not failed, parts)


def gate_row(gate: Gate) -> list[str]:
    """Return a row of a table of gates, below `GATE`."""
    value = "" if gate.value is None else bold(f"{gate.value:.4g}")
    passed = state(gate.passed, "passed", "FAILED")
    return [code(gate.name), gate.condition, value, passed, gate.limit.reason]


def _decision(config: TrainingConfig, found: Evaluation) -> Iterator[Markup]:
    decision = config.decision
    if decision is None:
        yield paragraph("There is no [decision] in training.toml.")
        return
    values = dict(found.values)
    at = min(values, key=lambda limit: abs(limit - decision.threshold))
    yield Markup(
        "<p>To {} pays from a decision threshold of <b>{:.2f}</b> on. On the evaluation rows that "
        "is worth <b>{:.2f} {}</b> per decision; always acting {:.2f}, never acting {:.2f}.</p>"
    ).format(
        *(decision.action, decision.threshold, values[at], decision.unit),
        *(values[0.0], values[1.0]),
    )


def _confusion(config: TrainingConfig, found: Diagnostics) -> Iterator[Markup]:
    """Yield the confusion matrix; of many classes, what is confused most often."""
    counts = found.confusion
    if counts is None:
        return
    yield heading("Confusion matrix")
    if config.project.contract.task == "binary":
        threshold = config.decision.threshold if config.decision else 0.5
        yield paragraph(f"At the decision threshold of {threshold:.2f}.")
    names = found.classes
    if len(names) <= SHOWN_CLASSES:
        head = ["label", *(f"predicted {name}" for name in names), "recall"]
        yield table(
            head,
            (
                _by_label(name, row, at)
                for at, (name, row) in enumerate(zip(names, counts.tolist(), strict=True))
            ),
        )
        return
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(wrong, axis=None)[::-1][:SHOWN_CLASSES]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    rows = ([names[label], names[chosen], f"{wrong[label, chosen]:,}"] for label, chosen in pairs)
    yield table(["label", "predicted", "rows, most frequent first"], rows)


def _by_label(name: str, counts: Sequence[int], at: int) -> list[str]:
    recall = f"{counts[at] / sum(counts):.1%}" if sum(counts) else "no rows"
    cells = [f"{count:,}" for count in counts]
    cells[at] = bold(cells[at])
    return [name, *cells, recall]


def _charts(config: TrainingConfig, by: Measures, found: Evaluation) -> Iterator[Markup]:
    if config.decision:
        low = min(value for _, value in found.values)
        high = max(value for _, value in found.values)
        pad = 0.1 * (high - low) or 1
        mark = Mark("threshold", config.decision.threshold, upright=True)
        title = f"Expected value by decision threshold, {config.decision.unit}"
        across, up = Axis(0, 1, label="decision threshold"), Axis(low - pad, high + pad)
        yield draw(title, [Series("expected value", found.values)], [mark], across, up)
    true, guess = by.certainty_words
    regression = by.task == "regression"
    bins = [(each.predicted, each.observed) for each in found.calibration]
    span = reach([each for pair in bins for each in pair])
    curve = [
        Series(true, bins),
        Series("perfectly calibrated", [(at, at) for at in (span.low, span.high)]),
    ]
    title = "Predicted vs. observed" if regression else "Calibration curve"
    yield draw(title, curve, [], span._replace(label=guess), span)
    yield from _diagnosed(found.diagnostics)
    if found.months:
        across = named([month(each) for each in found.months])
        series = [
            Series(by.quality_words, _over(found.months, lambda each: each.quality.value)),
            Series("95 % interval: lower", _over(found.months, lambda each: each.quality.low)),
            Series("upper", _over(found.months, lambda each: each.quality.high)),
        ]
        title = f"{by.quality_words} by month"
        yield draw(title, series, [], across, Axis(0 if regression else 0.5, 1))
        shares = [
            Series(true, _over(found.months, lambda each: each.observed)),
            Series(guess, _over(found.months, lambda each: each.predicted)),
        ]
        top_share = reach([y for one in shares for _, y in one.points])
        title = f"{true.capitalize()} and {guess} by month"
        yield draw(title, shares, [], across, top_share)


def _diagnosed(found: Diagnostics) -> Iterator[Markup]:
    if found.precision_recall:
        base = found.precision_recall[-1][1]  # where all are predicted
        curve = [
            Series("precision", found.precision_recall),
            Series("precision of no skill", [(0, base), (1, base)]),
        ]
        yield draw("Precision-recall curve", curve, [], Axis(0, 1, label="recall"), Axis(0, 1))
    if found.residuals:
        series = [Series(name, points) for name, points in found.residuals.items()]
        points = [point for one in series for point in one.points]
        across = reach([x for x, _ in points])._replace(label="predicted value")
        up = reach([y for _, y in points])
        yield draw("Residuals, observed - predicted", series, [], across, up)


def month(part: Slice) -> str:
    """Return the name of a slice that is a month, such as "Oct 2013"."""
    return f"{datetime.fromisoformat(f'{part.name}-01'):%b %Y}"


def _over(months: Sequence[Slice], value: Callable[[Slice], float]) -> list[tuple[float, float]]:
    return [(at + 0.5, value(each)) for at, each in enumerate(months)]


def _gains(by: Measures, found: Evaluation) -> Iterator[list[str]]:
    yield [f"{by.loss_words} of the model", str(found.loss)]
    for name, gain in found.gains.items():
        yield [f"gain over {BASELINES[name]}", str(gain)]


def _slices(by: Measures, parts: Sequence[Slice]) -> Iterator[Markup]:
    if parts:
        yield heading("Slices")
        head = ["slice", "rows", by.quality_words, *by.certainty_words]
        yield table(head, (_slice(by, part) for part in parts))


def _slice(by: Measures, part: Slice) -> list[str]:
    shares = (by.mean(part.observed), by.mean(part.predicted))
    return [part.name, f"{part.rows:,}", str(part.quality), *shares]


def _feature(found: Importance) -> list[str]:
    size, values, missing = found.cost
    costs = (f"{size:.0f}", f"{values:,}", f"{missing:.1%}")
    return [code(found.feature), str(found.loss), *costs]
