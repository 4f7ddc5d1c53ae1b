"""How the predictions of a shadow differ from those of stable for the same rows.

All functions are pure.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...contract import Contract
from ...decision import Decision
from ...feedback.store import Pair
from ...measures import Estimate, Values, mean_interval, measures_of
from ...monitoring.quality import truth

QUANTILES = (0.5, 0.9, 0.99)
NORMAL = NormalDist().inv_cdf(0.975)
LEAST = 30
"""Rows below which nothing is said of a slice, or of labels."""
LARGEST = 10


class Labelled(NamedTuple):
    """Both models on the rows whose labels have come.

    Attributes:
        rows: How many.
        stable: Mean loss.
        shadow: Likewise.
        gain: Loss of stable less that of the shadow, row by row.
        values: Mean value of the decisions of each; None where nothing is decided.
    """

    rows: int
    stable: Estimate
    shadow: Estimate
    gain: Estimate
    values: tuple[float, float] | None


class Comparison(NamedTuple):
    """Two models on the same rows.

    Attributes:
        rows: How many.
        stable: Predictions, shape (rows, *width).
        shadow: Likewise.
        difference: Mean of the shadow's prediction less stable's; None of classes.
        apart: Quantiles 0.5, 0.9 and 0.99 of how far both are apart in a row: the absolute
            difference, of classes the total variation distance.
        correlation: Pearson's; None of classes, or where all predictions of one are the same.
        agreement: Share of the rows in which both decide the same, or find the same class most
            probable; None where nothing is decided.
        outcomes: How many rows each pair of them has, stable's first; the most frequent ones first.
        labelled: Both where labels have come; None where there are fewer than `LEAST`.
        slices: Each slice with `LEAST` rows, and its own comparison.
        largest: The rows in which both are furthest apart.
    """

    rows: int
    stable: Values
    shadow: Values
    difference: Estimate | None
    apart: tuple[float, ...]
    correlation: float | None
    agreement: Estimate | None
    outcomes: list[tuple[tuple[str, str], int]]
    labelled: Labelled | None
    slices: "list[tuple[str, Comparison]]"
    largest: list[Pair]


def compare(contract: Contract, decision: Decision | None, pairs: Sequence[Pair]) -> Comparison:
    """Compare both models.

    Args:
        contract: The schema.
        decision: What somebody does because of a prediction; None is nothing.
        pairs: What they predicted, at least one.
    """
    whole = _compare(contract, decision, pairs)
    slices = defaultdict[str, list[Pair]](list)
    for each in pairs:
        for feature, level in each.slices.items():
            slices[f"{feature} {level}"].append(each)
    found = [
        (name, _compare(contract, decision, part))
        for name, part in sorted(slices.items())
        if len(part) >= LEAST
    ]
    return whole._replace(slices=found)


def _compare(contract: Contract, decision: Decision | None, pairs: Sequence[Pair]) -> Comparison:
    both = [np.array([pair[at] for pair in pairs], np.float64) for at in (1, 2)]
    stable, shadow = both
    distances, is_classes = _distances(stable, shadow), bool(contract.classes)
    outcomes = [*_outcomes(contract, pairs, stable, shadow)]
    same = sum(one == other for one, other in outcomes)
    furthest = np.argsort(-distances, kind="stable")[:LARGEST]
    return Comparison(
        len(pairs),
        stable,
        shadow,
        None if is_classes else mean_interval(shadow - stable),
        tuple(map(float, np.quantile(distances, QUANTILES))),
        None if is_classes else _correlation(stable, shadow),
        share_interval(same, len(pairs)) if outcomes else None,
        Counter(outcomes).most_common(),
        _labelled(contract, decision, pairs),
        [],
        [pairs[at] for at in furthest],
    )


def _distances(stable: Values, shadow: Values) -> Values:
    """Return how far predictions are apart, shape (rows,)."""
    apart = np.abs(shadow - stable)
    return apart if apart.ndim == 1 else apart.sum(axis=1) / 2


def _correlation(stable: Values, shadow: Values) -> float | None:
    if not (np.ptp(stable) and np.ptp(shadow)):
        return None
    return float(np.corrcoef(stable, shadow)[0, 1])


def _outcomes(
    contract: Contract, pairs: Sequence[Pair], stable: Values, shadow: Values
) -> Iterator[tuple[str, str]]:
    """Yield what both make of each row, where that is one of a few things."""
    if contract.classes:
        names = np.array(contract.classes)
        yield from zip(
            *(names[each.argmax(axis=1)].tolist() for each in (stable, shadow)), strict=True
        )
    elif all(None not in pair.acts for pair in pairs):
        words = {True: "acts", False: "does not"}
        for pair in pairs:
            yield words[bool(pair.acts[0])], words[bool(pair.acts[1])]


def share_interval(those: int, rows: int) -> Estimate:
    """Return a share with its 95 % interval, by the score of Wilson (1927).

    Args:
        those: Rows of which something is true.
        rows: How many there are, at least one.
    """
    share, square = those / rows, NORMAL**2
    middle = (share + square / (2 * rows)) / (1 + square / rows)
    half = NORMAL / (1 + square / rows) * sqrt(share * (1 - share) / rows + square / 4 / rows**2)
    return Estimate(share, max(middle - half, 0.0), min(middle + half, 1.0))


def _labelled(
    contract: Contract, decision: Decision | None, pairs: Sequence[Pair]
) -> Labelled | None:
    known = [pair for pair in pairs if pair.label is not None]
    if len(known) < LEAST:
        return None
    label = truth(contract, [pair.label for pair in known if pair.label is not None])
    by = measures_of(contract.task)
    stable, shadow = (
        by.losses(label, np.array([pair[at] for pair in known], np.float64)) for at in (1, 2)
    )
    return Labelled(
        len(known),
        mean_interval(stable),
        mean_interval(shadow),
        mean_interval(stable - shadow),
        _values(decision, known, label),
    )


def _values(
    decision: Decision | None, known: Sequence[Pair], label: npt.NDArray[np.generic]
) -> tuple[float, float] | None:
    if decision is None or any(None in pair.acts for pair in known):
        return None
    stable, shadow = (
        decision.value(label.astype(bool), np.array([pair.acts[at] for pair in known], bool))
        for at in (0, 1)
    )
    return stable, shadow
