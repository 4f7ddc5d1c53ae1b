"""What drifts and what breaks is told, and chance is not, in Prometheus' own test tool."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from chassis.monitoring.scenarios import (
    STATED,
    TICKET,
    Series,
    assert_fires,
    assert_samples,
    grows,
    labelled,
)
from ml_chassis import slo
from ml_chassis.monitoring.drift import ADDED_ROWS, PREDICTION
from ml_chassis.monitoring.rules import drift
from ml_chassis.monitoring.rules.rule import STEP

MINUTES = 200
JUDGED = 195
"""The minute at which is looked."""
TRAINED_ROWS = 7_000
BINS = {"up to 1": 0.3, "above 1": 0.6, "other": 0.1, "missing": 0.0}
"""The shares in training."""
USUAL = (30, 60, 10, 0)
"""Rows a minute of each bin."""
SHIFT, PREDICTIONS = "ModelServiceFeatureDrift", "ModelServicePredictionDrift"
MISSING, UNKNOWN = "ModelServiceMissingValues", "ModelServiceUnknownValues"
REFUSED, STALE = "ModelServiceRefusedValues", "ModelServiceStaleValues"


def stated(**changed: object) -> slo.Slo:
    """Return slo.yaml with another [drift]."""
    return STATED.model_copy(update={"drift": slo.Drift.model_validate(changed)})


def served(
    *phases: tuple[Sequence[float], int],
    feature: str = "age",
    workers: int = 2,
    minutes: int = MINUTES,
    **labels: str,
) -> Series:
    """Return what a replica shows that was asked so many rows a minute in each bin.

    Args:
        phases: Rows a minute of each bin, and for how many minutes.
        feature: The feature.
        workers: Which serve the version now.
        minutes: All of them.
        labels: Others than usual.
    """
    version = {"version": "v1", **labels}
    found = {
        labelled("model_service_model_workers", **version): f"{workers}x{minutes}",
        labelled("model_service_model_training_rows", **version): f"{TRAINED_ROWS}x{minutes}",
    }
    for at, (name, share) in enumerate(BINS.items()):
        place = {"feature": feature, "bin": name, **version}
        counted = grows(*((rows[at], length) for rows, length in phases))
        found[labelled("model_service_feature_bin_total", **place)] = counted
        reference = labelled("model_service_feature_reference_ratio", **place)
        found[reference] = f"{share}x{minutes}"
    return found


def problems(*phases: tuple[float, int]) -> Series:
    """Return how many requests a minute are refused, of 100 of 50 rows each."""
    refused = labelled("model_service_request_problems_total", field="age", reason="range")
    answered = labelled("model_service_predictions_total", version="v1")
    requests = "model_service_requests_total"
    well = [(100 - refused, minutes) for refused, minutes in phases]
    return {
        refused: grows(*phases),
        labelled(requests, route="/predict", status="422"): grows(*phases),
        labelled(requests, route="/predict", status="200"): grows(*well),
        answered: grows(*((50 * rows, minutes) for rows, minutes in well)),
        labelled("model_service_degraded_predictions_total", reason="slow"): f"0x{MINUTES}",
    }


def messages(dead: float) -> Series:
    """Return how many messages a minute are refused, of 100; as many are labels."""
    refused = labelled("model_service_request_problems_total", field="age", reason="range")
    counts = {"dead_letter": dead, "predicted": 100 - dead, "label": 100}
    return {refused: grows((dead, MINUTES))} | {
        labelled("model_service_stream_messages_total", outcome=outcome): grows((each, MINUTES))
        for outcome, each in counts.items()
    }


def values_of_a_source(too_old: float) -> Series:
    """Return how many of the values that are wanted are too old."""
    name = "model_service_source_values_total"
    return {
        labelled(name, source="weather", state="live"): grows((100 - too_old, MINUTES)),
        labelled(name, source="weather", state="too_old"): grows((too_old, MINUTES)),
    }


@pytest.mark.parametrize(
    ("series", "fired"),
    [
        (served((USUAL, 200)), set()),
        (served(((60, 30, 10, 0), 200)), {SHIFT}),
        (served(((60, 30, 10, 0), 200), feature=PREDICTION), {PREDICTIONS}),
        (served(((1.2, 0.6, 0.2, 0), 200)), set()),
        (served(((60, 30, 10, 0), 200), workers=0), set()),
        (served((USUAL, 190), ((30, 0, 0, 70), 10)), set()),
        (served((USUAL, 60), ((20, 10, 0, 70), 140)), {SHIFT, MISSING}),
        (served((USUAL, 60), ((10, 20, 70, 0), 140)), {SHIFT, UNKNOWN}),
        (problems((1, 200)), set()),
        (problems((10, 200)), {REFUSED}),
        (problems((0, 170), (10, 30)), set()),
        (messages(2), set()),
        (messages(7), {REFUSED}),
        (values_of_a_source(1), set()),
        (values_of_a_source(10), {STALE}),
    ],
    ids=[
        *("as in training", "shifted", "predictions are shifted", "shifted, but few rows"),
        *("a version that is not served", "missing for minutes", "missing for hours"),
        *("unknown for hours", "few are refused", "many are refused", "refused for minutes"),
        *("few messages are refused", "many messages are refused"),
        *("a source is fresh", "a source is stale"),
    ],
)
def test_what_fires_after_some_hours(series: Series, fired: set[str], tmp_path: Path) -> None:
    assert_fires(tmp_path, STATED, series, JUDGED, {(name, TICKET) for name in fired}, every=STEP)


@pytest.mark.parametrize(
    ("changed", "feature"),
    [
        ({"expected": ["age"]}, "age"),
        ({"expected": ["height", PREDICTION]}, PREDICTION),
        ({"psi": 0.5}, "age"),
    ],
)
def test_what_is_expected_is_not_told(
    changed: dict[str, object], feature: str, tmp_path: Path
) -> None:
    series = served(((60, 30, 10, 0), 200), feature=feature)

    assert_fires(tmp_path, stated(**changed), series, JUDGED, set())
    assert_fires(tmp_path, stated(expected=["height"], psi=0.3), series, JUDGED, ANY[feature])


ANY = {"age": {(SHIFT, TICKET)}, PREDICTION: {(PREDICTIONS, TICKET)}}


@pytest.mark.slow
def test_a_shift_is_forgotten_when_its_days_are_over(tmp_path: Path) -> None:
    day = 24 * 60
    shifted_for_a_day = served(((60, 30, 10, 0), day), (USUAL, 2 * day), minutes=3 * day)

    for minute, fired in ((day, {(SHIFT, TICKET)}), (2 * day + 60, set())):
        assert_fires(tmp_path, stated(window_days=1), shifted_for_a_day, minute, fired)


@pytest.mark.parametrize("track", ["stable", "canary"])
def test_a_canary_is_compared_with_stable_where_both_have_the_same_bins(
    track: str, tmp_path: Path
) -> None:
    stable = served((USUAL, 200), version="v1")
    canary = served(((60, 30, 10, 0), 200), version="v2", track=track)
    other = {name.replace("up to 1", "up to 2"): values for name, values in canary.items()}
    far = f"count by (track) ({drift.TO_STABLE} > 0.3)"

    expected = {'{track="canary"}': 1.0} if track == "canary" else {}
    assert_samples(tmp_path, STATED, stable | canary, JUDGED, far, expected)
    assert_samples(tmp_path, STATED, stable | other, JUDGED, drift.TO_STABLE, {})


def test_the_limit_is_that_of_chi_squared() -> None:
    for freedom in range(1, 40):
        close = (1 - 2 / (9 * freedom) + drift.NORMAL * (2 / (9 * freedom)) ** 0.5) ** 3
        assert freedom * close == pytest.approx(chi2.ppf(0.999, freedom), rel=0.031)


def test_where_little_matters_the_limit_is_what_chance_exceeds(tmp_path: Path) -> None:
    rows = sum(USUAL) * JUDGED
    chance = chi2.ppf(0.999, 2) * (1 / rows + 1 / TRAINED_ROWS)  # of three bins that have rows

    near = f"count({drift.LIMIT} > {chance * 0.95} < {chance * 1.05})"
    assert_samples(tmp_path, stated(psi=1e-6), served((USUAL, 200)), JUDGED, near, {"{}": 1})


@pytest.mark.parametrize("rows", [drift.LEAST_ROWS, 5_000])
def test_chance_does_not_fire_in_a_hundred_years(rows: int) -> None:
    """Of 17 features a week's rows are drawn from the distribution of training, 5,200 times."""
    random = np.random.default_rng(0)
    share = np.full(11, 1 / 11)
    weeks, features = 5_200, 17
    trained = random.multinomial(TRAINED_ROWS, share, features) + ADDED_ROWS
    before = trained / trained.sum(axis=1, keepdims=True)

    now = random.multinomial(rows, share, (weeks, features)) + ADDED_ROWS
    now /= now.sum(axis=2, keepdims=True)
    index = ((now - before) * np.log(now / before)).sum(axis=2)

    assert index.max() < STATED.drift.psi
    assert np.quantile(index, 0.999) == pytest.approx(
        chi2.ppf(0.999, 10) * (1 / rows + 1 / TRAINED_ROWS), rel=0.15
    )
