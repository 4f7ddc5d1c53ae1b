"""The report of a training run, for the people who decide whether the model is worth serving."""

from collections.abc import Callable, Iterator, Sequence
from html import escape

from ..contract import QUALITY
from ..reports.chart import Axis, Mark, Series, draw, reach
from ..reports.page import charts, page, state, table
from .candidate import Candidate
from .config import TrainingConfig
from .evaluation import Evaluation, Importance, Slice
from .gates import Gate
from .measures import CERTAINTY, LOSS_WORDS, QUALITY_WORDS, mean
from .split import Split

GAINS = {
    "base_rate": "always answering the mean of training",
    "simple_model": "a linear model",
    "champion": "the champion",
}
FEATURE = [
    *("feature", f"{LOSS_WORDS} grows by, when shuffled"),
    *("bytes in a request", "different values", "missing"),
]
SLICE = ["rows of", "how many", QUALITY_WORDS, *CERTAINTY]


def render(config: TrainingConfig, candidate: Candidate) -> str:
    """Return the page."""
    found, failed = candidate.evaluation, candidate.failed
    missed = f"{len(failed)} of {len(candidate.gates)} gates FAILED"
    title = f"Training: {missed if failed else 'every gate is met'}"
    rows, split = candidate.facts["rows"], Split.of(config)
    about = (
        f"{config.estimator}, fitted on {rows['train']:,} rows {split.train}, measured on "
        f"{rows['test']:,} rows {split.test}. Intervals hold 95 % of what other rows of the same "
        "kind would have shown."
    )
    parts = [
        f"<p>{escape(about)}</p>",
        table(["gate", "asked", "found", "", "why"], (_gate(gate) for gate in candidate.gates)),
        "<h2>What a decision is worth</h2>",
        *_decision(config, found),
        charts(_charts(config, found)),
        "<h2>Compared with others</h2>",
        table([LOSS_WORDS, "lower by"], _gains(found)),
        "<h2>On parts of the rows</h2>",
        table(SLICE, map(_slice, [*found.months, *found.slices])),
        "<h2>Which features it uses, and what they cost</h2>",
        table(FEATURE, map(_feature, found.importance)),
    ]
    return page(title, not failed, parts)


def _gate(gate: Gate) -> list[str]:
    value = "" if gate.value is None else f"<b>{gate.value:.4g}</b>"
    name = f"<code>{gate.name}</code>"
    return [name, gate.condition, value, state(gate.passed), escape(gate.limit.reason)]


def _decision(config: TrainingConfig, found: Evaluation) -> Iterator[str]:
    decision = config.decision
    if decision is None:
        yield "<p>[decision] in training.toml does not say.</p>"
        return
    values = dict(found.values)
    at = min(values, key=lambda limit: abs(limit - decision.threshold))
    yield (
        f"<p>To {escape(decision.action)} pays from a probability of "
        f"<b>{decision.threshold:.2f}</b> on. On the rows for evaluation that was worth "
        f"<b>{values[at]:.2f} {escape(decision.unit)}</b> a decision; always doing it "
        f"{values[0.0]:.2f}, never {values[1.0]:.2f}.</p>"
    )


def _charts(config: TrainingConfig, found: Evaluation) -> Iterator[str]:
    if config.decision:
        low = min(value for _, value in found.values)
        high = max(value for _, value in found.values)
        pad = 0.1 * (high - low) or 1
        mark = Mark("chosen", config.decision.threshold, upright=True)
        title = f"Value of a decision by the threshold, {config.decision.unit}"
        up = Axis(low - pad, high + pad)
        yield draw(title, [Series("value", found.values)], [mark], Axis(0, 1), up)
    bins = [(each.predicted, each.observed) for each in found.calibration]
    span = reach([each for pair in bins for each in pair])
    right = [
        Series("observed", bins),
        Series("as predicted", [(at, at) for at in (span.low, span.high)]),
    ]
    yield draw(f"Mean {CERTAINTY[0]}, by what was {CERTAINTY[1]}", right, [], span, span)
    if found.months:
        across = Axis(0, len(found.months))
        series = [
            Series("found", _over(found.months, lambda each: each.quality.value)),
            Series("from", _over(found.months, lambda each: each.quality.low)),
            Series("to", _over(found.months, lambda each: each.quality.high)),
        ]
        title = f"{QUALITY_WORDS}, by month from {found.months[0].name} on"
        yield draw(title, series, [], across, Axis(0.5 if QUALITY == "auc" else 0, 1))
        shares = [
            Series(CERTAINTY[0], _over(found.months, lambda each: each.observed)),
            Series(CERTAINTY[1], _over(found.months, lambda each: each.predicted)),
        ]
        top_share = reach([y for one in shares for _, y in one.points])
        yield draw(f"{' and '.join(CERTAINTY)}, mean by month", shares, [], across, top_share)


def _over(months: Sequence[Slice], value: Callable[[Slice], float]) -> list[tuple[float, float]]:
    return [(at + 0.5, value(each)) for at, each in enumerate(months)]


def _gains(found: Evaluation) -> Iterator[list[str]]:
    yield ["of the model", str(found.loss)]
    for name, gain in found.gains.items():
        yield [f"than {GAINS[name]}", str(gain)]


def _slice(part: Slice) -> list[str]:
    shares = (mean(part.observed), mean(part.predicted))
    return [escape(part.name), f"{part.rows:,}", str(part.quality), *shares]


def _feature(found: Importance) -> list[str]:
    size, values, missing = found.cost
    costs = (f"{size:.0f}", f"{values:,}", f"{missing:.1%}")
    return [f"<code>{found.feature}</code>", str(found.loss), *costs]
