"""How good a model is on rows for evaluation, and how far that can be relied on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..contract import Labels, Predictions
from ..measures import (
    Bin,
    Estimate,
    Measures,
    Values,
    calibration,
    calibration_error,
    mean_interval,
    measures_of,
)
from .config import TrainingConfig
from .cost import Cost, cost
from .diagnostics import Diagnostics, diagnose
from .estimator import Dataset, FittedModel

SEEDS = 3
LEFT_OUT = 0.1
"""Share of the training rows that each fit with another seed does without."""
PERMUTATIONS = 3


class Slice(NamedTuple):
    """Quality on some of the later rows."""

    name: str
    rows: int
    quality: Estimate
    observed: float
    predicted: float
    treatment: float
    """What fairness compares, see `_treatment`."""


class Importance(NamedTuple):
    """By how much the loss grows when one feature is shuffled among the rows, and its cost."""

    feature: str
    loss: Estimate
    cost: Cost


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured; `measures` are what gates can be declared for."""

    measures: dict[str, float]
    quality: Estimate
    loss: Estimate
    gains: dict[str, Estimate]
    """Loss of others less that of the model, on the same rows."""
    calibration: list[Bin]
    slices: list[Slice]
    groups: list[Slice]
    months: list[Slice]
    importance: list[Importance]
    values: list[tuple[float, float]]
    """Mean value of a decision by the threshold."""
    diagnostics: Diagnostics


def evaluate(
    config: TrainingConfig,
    test: Dataset,
    model: FittedModel,
    others: dict[str, Predictions],
    refits: Sequence[Predictions],
) -> Evaluation:
    """Measure a model.

    Args:
        config: What training.toml says.
        test: Rows for evaluation, of at least two different labels.
        model: The model.
        others: What others predict for the later rows, by their names: the base rate, a simpler
            model, the champion.
        refits: What the same estimator predicts for them, fitted with other seeds on a part of the
            rows.
    """
    by = measures_of(test.contract.task)
    predicted = model.predict(test.numeric, test.categorical)
    lost = by.losses(test.label, predicted)
    gains = {
        name: mean_interval(by.losses(test.label, other) - lost) for name, other in others.items()
    }
    bins = calibration(*by.certainty(test.label, predicted))
    limit = config.decision.threshold if config.decision else 0.5
    asked = config.evaluation
    parts = {
        feature: list(_by_category(feature, test, predicted, limit, asked.minimum_rows))
        for feature in {*asked.slices, *asked.fairness}
    }
    slices = [part for feature in asked.slices for part in parts[feature]]
    groups = [part for feature in asked.fairness for part in parts[feature]]
    months = list(_by_month(test, predicted, limit, asked.minimum_rows))
    importance = list(_importance(model, test, lost))
    found = by.quality_interval(test.label, predicted)
    reached = [found.value, *(by.quality(test.label, refit) for refit in refits)]
    measures = {
        test.contract.quality: found.value,
        "loss": float(lost.mean()),
        "calibration_error": calibration_error(bins),
        "seed_spread": max(reached) - min(reached),
        "harmful_features": float(_count_harmful(importance)),
        # What is certain of a gain is its lower end; but some thousand rows cannot tell two good
        # models apart, and there the best guess decides.
        **{
            f"gain_over_{name}": gain.value if name == "simple_model" else gain.low
            for name, gain in gains.items()
        },
    }
    if slices:
        measures[f"worst_slice_{test.contract.quality}"] = min(each.quality.high for each in slices)
    if len(groups) > 1:
        treatments = [each.treatment for each in groups]
        measures["fairness_gap"] = max(treatments) - min(treatments)
    if len(months) > 1:
        measures["decay"] = months[0].quality.low - months[-1].quality.high
    return Evaluation(
        measures=measures,
        quality=found,
        loss=mean_interval(lost),
        gains=gains,
        calibration=bins,
        slices=slices,
        groups=groups,
        months=months,
        importance=sorted(importance, key=lambda each: -each.loss.value),
        values=_values(config, test, predicted),
        diagnostics=diagnose(test.contract, test.label, predicted, limit),
    )


def without_some(rows: Dataset, seed: int) -> Dataset:
    """Return training rows without a random part of them."""
    random = np.random.default_rng(seed)
    return rows[np.flatnonzero(random.random(len(rows)) >= LEFT_OUT)]


def _by_category(
    feature: str, test: Dataset, predicted: Predictions, limit: float, least: int
) -> Iterator[Slice]:
    values = test.categorical[:, test.contract.categorical.index(feature)].astype(str)
    by = measures_of(test.contract.task)
    for part in _parts(by, values, test.label, predicted, limit, least):
        yield part._replace(name=f"{feature} {part.name}")


def _by_month(test: Dataset, predicted: Predictions, limit: float, least: int) -> Iterator[Slice]:
    if test.time is not None:
        months = test.time.astype("datetime64[M]")
        by = measures_of(test.contract.task)
        yield from _parts(by, months, test.label, predicted, limit, least)


def _parts(
    by: Measures,
    values: npt.NDArray[Any],
    label: Labels,
    predicted: Predictions,
    limit: float,
    least: int,
) -> Iterator[Slice]:
    """Yield the rows of each value that has enough of them, and different labels."""
    for value in np.unique(values):
        chosen = values == value
        true, answers = label[chosen], predicted[chosen]
        if len(true) >= least and len(np.unique(true)) > 1:
            observed, expected = (float(each.mean()) for each in by.certainty(true, answers))
            yield Slice(
                name=str(value),
                rows=len(true),
                quality=by.quality_interval(true, answers),
                observed=observed,
                predicted=expected,
                treatment=_treatment(by, true, answers, limit),
            )


def _treatment(by: Measures, label: Labels, predicted: Predictions, limit: float) -> float:
    """Return what fairness compares between groups.

    That is the share of the rows with a true label on which one would act (equal opportunity;
    Hardt, Price and Srebro, 2016); of many classes, the share of rows whose most probable class is
    right; of a number, the mean error.
    """
    if by.task == "binary":
        return float((predicted[label] >= limit).mean())
    observed, expected = by.certainty(label, predicted)
    return float((observed if by.task == "multiclass" else expected - observed).mean())


def _importance(model: FittedModel, test: Dataset, lost: Values) -> Iterator[Importance]:
    """Yield the permutation importance of each feature (Breiman, 2001)."""
    random, contract = np.random.default_rng(0), test.contract
    losses = measures_of(contract.task).losses
    for position, feature in enumerate((*contract.numeric, *contract.categorical)):
        worse = np.zeros(len(test))
        for _ in range(PERMUTATIONS):
            order = random.permutation(len(test))
            shuffled = _shuffle(test, position, order)
            predicted = model.predict(shuffled.numeric, shuffled.categorical)
            worse += (losses(test.label, predicted) - lost) / PERMUTATIONS
        yield Importance(feature, mean_interval(worse), cost(test, feature))


def _count_harmful(importance: Sequence[Importance]) -> int:
    """Count features without which the model is better; of many, some would seem so by chance.

    The level is divided by their number (Bonferroni).
    """
    limit = NormalDist().inv_cdf(1 - 0.025 / max(len(importance), 1))
    return sum(each.loss.value + limit * each.loss.deviation < 0 for each in importance)


def _shuffle(rows: Dataset, position: int, order: npt.NDArray[np.intp]) -> Dataset:
    numeric, categorical = rows.numeric.copy(), rows.categorical.copy()
    at = position - numeric.shape[1]
    if at < 0:
        numeric[:, position] = numeric[order, position]
    else:
        categorical[:, at] = categorical[order, at]
    return replace(rows, numeric=numeric, categorical=categorical)


def _values(
    config: TrainingConfig, test: Dataset, predicted: Predictions
) -> list[tuple[float, float]]:
    decision = config.decision
    if decision is None:
        return []
    limits = np.linspace(0, 1, 101)
    return [(float(limit), decision.value(test.label, predicted >= limit)) for limit in limits]
