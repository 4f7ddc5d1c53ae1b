"""The report of a training run, for the people who decide whether the model is worth serving."""

from collections.abc import Callable, Iterator, Sequence
from html import escape

from ..reports.chart import Axis, Mark, Series, draw, reach
from ..reports.page import charts, page, state, table
from .candidate import Candidate
from .config import TrainingConfig
from .evaluation import Evaluation, Slice
from .gates import Gate

GAINS = {
    "base_rate": "always answering the base rate",
    "simple_model": "logistic regression",
    "champion": "the champion",
}
SLICE = ["rows of", "how many", "AUC", "true", "predicted"]


def render(config: TrainingConfig, candidate: Candidate) -> str:
    """Return the page."""
    found, failed = candidate.evaluation, candidate.failed
    missed = f"{len(failed)} of {len(candidate.gates)} gates FAILED"
    title = f"Training: {missed if failed else 'every gate is met'}"
    rows = candidate.facts["rows"]
    about = (
        f"{config.estimator}, fitted on {rows['train']:,} rows before {config.test_from}, measured "
        f"on {rows['test']:,} later ones. Intervals hold 95 % of what other rows of the same kind "
        "would have shown."
    )
    parts = [
        f"<p>{escape(about)}</p>",
        table(["gate", "asked", "found", "", "why"], (_gate(gate) for gate in candidate.gates)),
        "<h2>What a decision is worth</h2>",
        *_decision(config, found),
        charts(_charts(config, found)),
        "<h2>Compared with others</h2>",
        table(["log loss", "lower by"], _gains(found)),
        "<h2>On parts of the rows</h2>",
        table(SLICE, map(_slice, [*found.months, *found.slices])),
        "<h2>Which features it uses</h2>",
        table(
            ["feature", "log loss grows by, when shuffled"],
            ([f"<code>{each.feature}</code>", str(each.loss)] for each in found.importance),
        ),
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
        f"<b>{decision.threshold:.2f}</b> on. On the later rows that was worth "
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
    top = 1.05 * max(max(bin_) for bin_ in bins)
    right = [Series("observed", bins), Series("as predicted", [(0, 0), (top, top)])]
    yield draw("Share that was true, by what was predicted", right, [], Axis(0, top), Axis(0, top))
    if found.months:
        across = Axis(0, len(found.months))
        series = [
            Series("AUC", _over(found.months, lambda each: each.auc.value)),
            Series("from", _over(found.months, lambda each: each.auc.low)),
            Series("to", _over(found.months, lambda each: each.auc.high)),
        ]
        title = f"AUC by month, from {found.months[0].name} on"
        yield draw(title, series, [], across, Axis(0.5, 1))
        shares = [
            Series("true", _over(found.months, lambda each: each.observed)),
            Series("predicted", _over(found.months, lambda each: each.predicted)),
        ]
        top_share = reach([y for one in shares for _, y in one.points])
        yield draw("True and predicted share by month", shares, [], across, top_share)


def _over(months: Sequence[Slice], value: Callable[[Slice], float]) -> list[tuple[float, float]]:
    return [(at + 0.5, value(each)) for at, each in enumerate(months)]


def _gains(found: Evaluation) -> Iterator[list[str]]:
    yield ["of the model", str(found.log_loss)]
    for name, gain in found.gains.items():
        yield [f"than {GAINS[name]}", str(gain)]


def _slice(part: Slice) -> list[str]:
    shares = (f"{part.observed:.1%}", f"{part.predicted:.1%}")
    return [escape(part.name), f"{part.rows:,}", str(part.auc), *shares]
