"""Statistics of two arms that are valid at every look; all functions are pure.

A test that is looked at again and again until its p-value is small finds a difference in every
third A/A test. What is here holds at all looks together, so one may look at any time, and stop.

References:
    Robbins (1970), "Statistical methods related to the law of the iterated logarithm": the mixture.
    Johari, Koomen, Pekelis and Walsh (2022), "Always valid inference: continuous monitoring of A/B
    tests": two arms, the p-value.
    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024), "Time-uniform central limit theory and
    asymptotic confidence sequences": outcomes that are not normal, with estimated variances.
    Lindon and Malek (2022), "Anytime-valid inference for multinomial count data": the sample ratio.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
"""Of any shape, which is that of the result: looks at a test, or tests and looks."""

LEAST_EFFECT = 0.1
"""The least difference where none is declared, in standard deviations of the champion's outcomes:
half of what Cohen (1988) calls a small effect."""
CONCENTRATION = 1_000
"""Of the Dirichlet prior of the sample ratio, whose standard deviation is so 1.6 % of the units
where half get the challenger. A larger one finds half a percent sooner, and several much later."""


class Sample(NamedTuple):
    """Outcomes of the units of an arm.

    Attributes:
        size: How many are known.
        mean: Of them; NaN of none.
        variance: Of them, unbiased; NaN of fewer than two.
    """

    size: Numbers
    mean: Numbers
    variance: Numbers

    @classmethod
    def of(cls, size: Numbers, total: Numbers, squares: Numbers) -> "Sample":
        """Return the sample by its size, its sum and its sum of squares.

        Outcomes that vary little around a large number lose digits: subtract that one before.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = total / size
            spread = np.where(size > 1, (squares - total * mean) / (size - 1), np.nan)
        return cls(size, mean, np.maximum(spread, 0))


class Interval(NamedTuple):
    """The challenger's mean less the champion's; NaN while too little is known.

    Attributes:
        difference: The estimate.
        low: The lower bound of the confidence sequence.
        high: The upper one.
        p_value: Always valid, of no difference.
    """

    difference: Numbers
    low: Numbers
    high: Numbers
    p_value: Numbers


def least_difference(declared: float | None, champion: Sample) -> Numbers:
    """Return the smallest difference that matters, in the unit of the outcome."""
    if declared is not None:
        return np.full_like(champion.mean, declared)
    return LEAST_EFFECT * np.sqrt(champion.variance)


def confidence_sequence(
    champion: Sample, challenger: Sample, confidence: float, scale: Numbers, least_units: int
) -> Interval:
    """Return the difference of two means with its confidence sequence and always-valid p-value.

    With D the difference and V its squared standard error, D / V has independent increments in the
    information 1 / V, whatever the sizes of the arms. So the likelihood ratio against no
    difference, mixed over true differences that are normal with mean 0 and standard deviation
    `scale`,

        sqrt(V / (V + scale²)) exp(D² scale² / (2 V (V + scale²))),

    is a martingale, which ever exceeds 1 / (1 - confidence) with a probability of 1 - confidence at
    most (Ville). The interval holds all differences that are not rejected in this way. It is not
    intersected with those of earlier looks: they rest on fewer units, where the normal
    approximation is worse, and the result would depend on who looked when.

    V is that of the larger of both variances. Where outcomes are rare, such as a sale, an arm of
    few units that by chance has too few of them has too small a variance as well, and would be
    called worse too often. Nothing is said while all outcomes of an arm are equal.

    Args:
        champion: Its outcomes.
        challenger: Likewise.
        confidence: That all intervals hold the true difference.
        scale: Where the sequence is narrow: it can tell apart a difference of this size soonest.
        least_units: Known outcomes of each arm below which nothing is said.
    """
    enough = np.minimum(champion.size, challenger.size) >= max(least_units, 2)
    enough &= np.minimum(champion.variance, challenger.variance) > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        larger = np.maximum(champion.variance, challenger.variance)
        noise = np.where(enough, larger * (1 / champion.size + 1 / challenger.size), np.nan)
        difference = np.where(enough, challenger.mean - champion.mean, np.nan)
        ratio = noise / scale**2
        log_odds = difference**2 / noise / (1 + ratio) - np.log1p(1 / ratio)
        width = np.sqrt(noise * _squared_errors(ratio, 1 - confidence))
    p_value = np.minimum(1, np.exp(-log_odds / 2))
    return Interval(difference, difference - width, difference + width, p_value)


def units_needed(variance: float, confidence: float, scale: float, share: float) -> float:
    """Return after how many known outcomes of both arms the interval is `scale` wide on each side.

    By then half of the tests are decided whose true difference is `scale`.

    Args:
        variance: Of the outcomes.
        confidence: Of the sequence.
        scale: The least difference.
        share: Of the units that get the challenger, above 0 and below 1.
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        ratio = (low + high) / 2
        narrow = ratio * _squared_errors(np.array(ratio), 1 - confidence) < 1
        low, high = (ratio, high) if narrow else (low, ratio)
    return variance / (share * (1 - share)) / (low * scale**2) if scale else math.nan


def _squared_errors(ratio: Numbers, error: float) -> Numbers:
    """Return half the width of the interval in standard errors, squared, by V / scale²."""
    found: Numbers = (1 + ratio) * (np.log1p(1 / ratio) - 2 * math.log(error))
    return found


def sample_ratio(challenger: Numbers, units: Numbers, share: float) -> Numbers:
    """Return the always-valid p-value of the sample ratio: small where the split is not as planned.

    It is the reciprocal of the Bayes factor of any split, with a Dirichlet prior around the planned
    one, against that one.

    Args:
        challenger: Units that got the challenger.
        units: All.
        share: Of the units that are to get it, above 0 and below 1.
    """
    prior = CONCENTRATION * np.array([1 - share, share])
    counts = [units - challenger, challenger]
    log_odds = math.lgamma(CONCENTRATION) - _lgamma(CONCENTRATION + units)
    for count, alpha in zip(counts, prior, strict=True):
        planned = math.log(alpha / CONCENTRATION)
        log_odds = log_odds + _lgamma(alpha + count) - math.lgamma(alpha) - count * planned
    return np.minimum(1, np.exp(-log_odds))


def _lgamma(values: Numbers) -> Numbers:
    found: Numbers = np.vectorize(math.lgamma, otypes=[float])(values)
    return found
