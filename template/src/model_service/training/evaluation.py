"""How good a model is on the months after its training, and how far that can be relied on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..contract import CATEGORICAL, NUMERIC
from .config import TrainingConfig
from .estimator import Dataset, FittedModel, Probability
from .measures import (
    Bin,
    Estimate,
    Values,
    auc,
    auc_interval,
    calibration,
    calibration_error,
    log_losses,
    mean_interval,
)

SEEDS = 3
LEFT_OUT = 0.1
"""Share of the training rows that each fit with another seed does without."""
PERMUTATIONS = 3


class Slice(NamedTuple):
    """Quality on some of the later rows."""

    name: str
    rows: int
    auc: Estimate
    observed: float
    predicted: float
    true_positive_rate: float
    """Share of the rows with a true label on which one would act."""


class Importance(NamedTuple):
    """By how much the log loss grows when one feature is shuffled among the rows."""

    feature: str
    loss: Estimate


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured; `measures` are what gates can be declared for."""

    measures: dict[str, float]
    auc: Estimate
    log_loss: Estimate
    gains: dict[str, Estimate]
    """Log loss of others less that of the model, on the same rows."""
    calibration: list[Bin]
    slices: list[Slice]
    groups: list[Slice]
    months: list[Slice]
    importance: list[Importance]
    values: list[tuple[float, float]] = field(default_factory=list)
    """Mean value of a decision by the threshold."""


Predict = Callable[[Dataset], Probability]


def evaluate(
    config: TrainingConfig,
    train: Dataset,
    test: Dataset,
    model: FittedModel,
    others: dict[str, Probability],
    refits: Sequence[Predict],
) -> Evaluation:
    """Measure a model.

    Args:
        config: What training.toml says.
        train: What it was fitted on.
        test: Later rows, at least one of each class.
        model: The model.
        others: What others predict for the later rows, by their names: the base rate, a simpler
            model, the champion.
        refits: The same estimator, fitted with other seeds on a part of the rows.
    """
    predicted = model.predict(test.numeric, test.categorical)
    losses = log_losses(test.label, predicted)
    gains = {
        name: mean_interval(log_losses(test.label, other) - losses)
        for name, other in others.items()
    }
    bins = calibration(test.label, predicted)
    limit = config.decision.threshold if config.decision else 0.5
    slices = list(_by_category(config.evaluation.slices, test, predicted, limit, config))
    groups = list(_by_category(config.evaluation.fairness, test, predicted, limit, config))
    months = list(_by_month(test, predicted, limit))
    importance = list(_importance(model, test, losses))
    again = [auc(test.label, refit(test)) for refit in refits]
    found = auc_interval(test.label, predicted)
    measures = {
        "auc": found.value,
        "log_loss": float(losses.mean()),
        "calibration_error": calibration_error(bins),
        "seed_spread": max([*again, found.value]) - min([*again, found.value]),
        "harmful_features": float(_count_harmful(importance)),
        "train_positive_rate": float(train.label.mean()),
        "test_positive_rate": float(test.label.mean()),
        # What is certain of a gain is its lower end; but some thousand rows cannot tell two good
        # models apart, and there the best guess decides.
        **{
            f"gain_over_{name}": gain.value if name == "simple_model" else gain.low
            for name, gain in gains.items()
        },
    }
    if slices:
        measures["worst_slice_auc"] = min(each.auc.high for each in slices)
    if len(groups) > 1:
        rates = [each.true_positive_rate for each in groups]
        measures["fairness_gap"] = max(rates) - min(rates)
    if len(months) > 1:
        measures["decay"] = months[0].auc.low - months[-1].auc.high
    return Evaluation(
        measures=measures,
        auc=found,
        log_loss=mean_interval(losses),
        gains=gains,
        calibration=bins,
        slices=slices,
        groups=groups,
        months=months,
        importance=sorted(importance, key=lambda each: -each.loss.value),
        values=_values(config, test, predicted),
    )


def without_some(rows: Dataset, seed: int) -> Dataset:
    """Return training rows without a random part of them."""
    random = np.random.default_rng(seed)
    return _take(rows, np.flatnonzero(random.random(len(rows)) >= LEFT_OUT))


def _take(rows: Dataset, chosen: npt.NDArray[np.intp]) -> Dataset:
    return Dataset(
        rows.numeric[chosen],
        rows.categorical[chosen],
        rows.label[chosen],
        None if rows.time is None else rows.time[chosen],
    )


def _slice(name: str, label: npt.NDArray[np.bool_], predicted: Probability, limit: float) -> Slice:
    return Slice(
        name=name,
        rows=len(label),
        auc=auc_interval(label, predicted),
        observed=float(label.mean()),
        predicted=float(predicted.mean()),
        true_positive_rate=float((predicted[label] >= limit).mean()) if label.any() else np.nan,
    )


def _by_category(
    features: Sequence[str],
    test: Dataset,
    predicted: Probability,
    limit: float,
    config: TrainingConfig,
) -> Iterator[Slice]:
    """Yield each value of some features that has enough rows, and of either class."""
    for feature in features:
        values = test.categorical[:, CATEGORICAL.index(feature)].astype(str)
        for value in np.unique(values):
            chosen = values == value
            label = test.label[chosen]
            enough = chosen.sum() >= config.evaluation.minimum_rows
            if enough and label.any() and not label.all():
                yield _slice(f"{feature} {value}", label, predicted[chosen], limit)


def _by_month(test: Dataset, predicted: Probability, limit: float) -> Iterator[Slice]:
    if test.time is None:
        return
    months = test.time.astype("datetime64[M]")
    for month in np.unique(months):
        chosen = months == month
        label = test.label[chosen]
        if label.any() and not label.all():
            yield _slice(str(month), label, predicted[chosen], limit)


def _importance(model: FittedModel, test: Dataset, losses: Values) -> Iterator[Importance]:
    """Yield the permutation importance of each feature (Breiman, 2001)."""
    random = np.random.default_rng(0)
    for position, feature in enumerate((*NUMERIC, *CATEGORICAL)):
        worse = np.zeros(len(test))
        for _ in range(PERMUTATIONS):
            order = random.permutation(len(test))
            shuffled = _shuffle(test, position, order)
            predicted = model.predict(shuffled.numeric, shuffled.categorical)
            worse += (log_losses(test.label, predicted) - losses) / PERMUTATIONS
        yield Importance(feature, mean_interval(worse))


def _count_harmful(importance: Sequence[Importance]) -> int:
    """Count features without which the model is better; of many, some would seem so by chance.

    The level is divided by their number (Bonferroni).
    """
    limit = NormalDist().inv_cdf(1 - 0.025 / max(len(importance), 1))
    return sum(each.loss.value + limit * each.loss.deviation < 0 for each in importance)


def _shuffle(rows: Dataset, position: int, order: npt.NDArray[np.intp]) -> Dataset:
    numeric, categorical = rows.numeric.copy(), rows.categorical.copy()
    if position < len(NUMERIC):
        numeric[:, position] = numeric[order, position]
    else:
        categorical[:, position - len(NUMERIC)] = categorical[order, position - len(NUMERIC)]
    return replace(rows, numeric=numeric, categorical=categorical)


def _values(
    config: TrainingConfig, test: Dataset, predicted: Probability
) -> list[tuple[float, float]]:
    decision = config.decision
    if decision is None:
        return []
    limits = np.linspace(0, 1, 101)
    return [(float(limit), decision.value(test.label, predicted >= limit)) for limit in limits]
