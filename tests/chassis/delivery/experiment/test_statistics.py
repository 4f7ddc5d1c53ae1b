"""The statistics are those of their sources, computed in another way."""

import math

import numpy as np
import pytest

from ml_chassis.delivery.experiment.statistics import (
    CONCENTRATION,
    LEAST_EFFECT,
    Interval,
    Sample,
    confidence_sequence,
    least_difference,
    sample_ratio,
    units_needed,
)

CONFIDENCE, SCALE = 0.95, 0.3


def sample(size: float, mean: float, variance: float = 1) -> Sample:
    return Sample(*(np.array(float(each)) for each in (size, mean, variance)))


def interval(
    champion: Sample, challenger: Sample, scale: float = SCALE, least: int = 2
) -> Interval:
    return confidence_sequence(champion, challenger, CONFIDENCE, np.array(scale), least)


def mixture(difference: float, noise: float, null: float) -> float:
    """Return the likelihood ratio of differences around a null, mixed by integration."""
    away = np.linspace(-12 * SCALE, 12 * SCALE, 200_001)
    density = np.exp(-(away**2) / (2 * SCALE**2)) / (SCALE * math.sqrt(2 * math.pi))
    apart = difference - null
    ratio = np.exp((apart**2 - (apart - away) ** 2) / (2 * noise))
    return float(np.trapezoid(ratio * density, away))


@pytest.mark.parametrize("difference", [0, 0.05, -0.4, 0.9])
@pytest.mark.parametrize(("sizes", "variance"), [((50, 60), 1.0), ((900, 90), 2.5)])
def test_the_mixture_is_that_of_an_integration(
    difference: float, sizes: tuple[int, int], variance: float
) -> None:
    noise = variance * (1 / sizes[0] + 1 / sizes[1])

    found = interval(sample(sizes[0], 1, variance), sample(sizes[1], 1 + difference, variance))

    assert found.difference == pytest.approx(difference)
    assert found.p_value == pytest.approx(min(1, 1 / mixture(difference, noise, 0)))
    for bound in (found.low, found.high):
        assert mixture(difference, noise, float(bound)) == pytest.approx(1 / (1 - CONFIDENCE))


@pytest.mark.parametrize(("more", "units"), [(0, 0), (2, 100), (-200, 10_000)])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_the_sample_ratio_is_that_of_an_integration(more: int, units: int, share: float) -> None:
    challenger = share * units + more
    others = units - challenger
    at = np.linspace(0, 1, 1_000_001)[1:-1]
    prior = (CONCENTRATION * share, CONCENTRATION * (1 - share))
    scale = math.lgamma(sum(prior)) - sum(map(math.lgamma, prior))
    density = scale + (prior[0] - 1) * np.log(at) + (prior[1] - 1) * np.log1p(-at)
    likelihood = challenger * np.log(at / share) + others * np.log((1 - at) / (1 - share))
    factor = np.trapezoid(np.exp(density + likelihood), at)

    found = sample_ratio(np.array(challenger), np.array(float(units)), share)

    assert found == pytest.approx(min(1, 1 / factor), rel=1e-6)


def test_a_sample_is_known_by_its_sums() -> None:
    values = np.random.default_rng(1).exponential(size=50)
    count = np.arange(1.0, 51)

    found = Sample.of(count, values.cumsum(), (values**2).cumsum())

    assert found.mean[-1] == pytest.approx(values.mean())
    assert found.variance[-1] == pytest.approx(values.var(ddof=1))
    assert np.isnan(found.variance[0])
    assert np.isnan(Sample.of(np.array(0.0), np.array(0.0), np.array(0.0)).mean)


@pytest.mark.parametrize(
    ("champion", "challenger"),
    [
        (sample(99, 0), sample(1_000, 1)),
        (sample(1_000, 0), sample(99, 1)),
        (sample(1_000, 0, 0), sample(1_000, 1)),
        (sample(1_000, 0), sample(1_000, 1, 0)),
        (sample(0, math.nan, math.nan), sample(1_000, 1)),
    ],
)
def test_nothing_is_said_of_few_units_or_equal_outcomes(
    champion: Sample, challenger: Sample
) -> None:
    assert np.isnan(interval(champion, challenger, least=100)).all()


def test_arms_of_other_variances_have_the_larger_one() -> None:
    wide = interval(sample(500, 0, 4), sample(50, 1, 4))

    assert np.array_equal(interval(sample(500, 0, 1), sample(50, 1, 4)), wide)
    assert np.array_equal(interval(sample(500, 0, 4), sample(50, 1, 1)), wide)


def test_by_the_units_that_are_needed_the_interval_is_as_wide_as_the_least_difference() -> None:
    units, share = units_needed(2.5, CONFIDENCE, SCALE, 0.2), 0.2

    found = interval(sample(units * (1 - share), 0, 2.5), sample(units * share, 0, 2.5))

    assert found.high == pytest.approx(SCALE)
    assert math.isnan(units_needed(0, CONFIDENCE, 0, 0.5))


def test_without_a_least_difference_it_is_a_part_of_the_deviation() -> None:
    assert least_difference(None, sample(9, 5, 4)) == pytest.approx(LEAST_EFFECT * 2)
    assert least_difference(0.7, sample(9, 5, 4)) == pytest.approx(0.7)
