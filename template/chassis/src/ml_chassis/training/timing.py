"""How long models take for calls of different sizes, measured side by side."""

from collections.abc import Mapping, Sequence
from time import perf_counter

import numpy as np

from ..measures import Estimate, Values, interval
from ..serving.predictor import Predictor
from .estimator import Dataset

SIZES = tuple(2**power for power in range(11))
ROUNDS = 30
SLICE_SECONDS = 0.002
"""For which a model is called again and again before it is the next one's turn."""

Seconds = dict[int, Values]
"""Seconds of a call by its number of rows, one for each round, shape (rounds,)."""


def race(
    models: Mapping[str, Predictor], rows: Dataset, sizes: Sequence[int], rounds: int = ROUNDS
) -> dict[str, Seconds]:
    """Return the seconds of each model.

    The models take turns, each round in another order: whatever else the machine does meets all.

    Args:
        models: What is timed, by its name.
        rows: What is predicted; used again where a call needs more.
        sizes: Numbers of rows in a call.
        rounds: How often each model has its turn for each size.
    """
    random = np.random.default_rng(0)
    found: dict[str, Seconds] = {
        name: {size: np.zeros(rounds) for size in sizes} for name in models
    }
    for size in sizes:
        chosen = np.arange(size) % len(rows)
        inputs = rows.numeric[chosen], rows.categorical[chosen]
        calls = max(_time(model, inputs, 1) for model in models.values())
        repeats = max(1, round(SLICE_SECONDS / calls))
        for turn in range(rounds):
            for name in random.permutation(list(models)):
                found[name][size][turn] = _time(models[name], inputs, repeats)
    return found


def speedup(slow: Values, fast: Values) -> Estimate:
    """Return how many times as fast one model is as another, the median over the rounds.

    Args:
        slow: Its seconds, shape (rounds,).
        fast: Those of the other model in the same rounds.
    """
    ratios = slow / fast
    return interval(lambda rounds: float(np.median(ratios[rounds])), len(ratios))


def _time(model: Predictor, inputs: tuple[np.ndarray, np.ndarray], repeats: int) -> float:
    start = perf_counter()
    for _ in range(repeats):
        model.predict(*inputs)
    return (perf_counter() - start) / repeats
