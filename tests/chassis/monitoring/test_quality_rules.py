"""A model that is certainly worse than none is told; few labels and none prove nothing."""

from pathlib import Path

import pytest

from chassis.monitoring.scenarios import (
    STATED,
    TICKET,
    Series,
    assert_fires,
    assert_samples,
    grows,
    labelled,
)
from ml_chassis.monitoring.rules import quality
from ml_chassis.monitoring.rules.rule import STEP

MINUTES, JUDGED = 200, 195
BASE = 0.6
"""Loss of always answering the same."""
QUALITY = {("ModelServiceQuality", TICKET)}


def told(
    labels: float, loss: float, deviation: float = 0.5, part: str = "(all)", workers: int = 1
) -> Series:
    """Return what a replica shows that gets so many labels a minute.

    Args:
        labels: A minute.
        loss: Their mean loss.
        deviation: The standard deviation of their losses, and of the differences.
        part: The slice.
        workers: Which serve the version.
    """
    version = {"version": "v1"}
    sums = {
        "labelled_rows": labels,
        "loss": labels * loss,
        "squared_loss": labels * (loss**2 + deviation**2),
        "base_rate_loss": labels * BASE,
        "squared_loss_difference": labels * ((loss - BASE) ** 2 + deviation**2),
    }
    return {
        labelled("model_service_model_workers", **version): f"{workers}x{MINUTES}",
        **{
            labelled(f"model_service_{name}_total", slice=part, **version): grows((each, MINUTES))
            for name, each in sums.items()
        },
    }


@pytest.mark.parametrize(
    ("series", "fired"),
    [
        (told(10, 0.5), set()),
        (told(10, 0.7), QUALITY),
        (told(10, 0.7, workers=0), set()),
        (told(10, 0.7, part="carrier UA"), set()),
        (told(0.3, 0.7, 0.1), set()),
        (told(10, 0.61, 1), set()),
        (told(0, 0), set()),
    ],
    ids=[
        *(
            "better than none",
            "certainly worse",
            "no longer served",
            "a slice alone is worse",
            "few labels",
        ),
        *("perhaps worse", "no labels"),
    ],
)
def test_what_fires_after_some_hours(
    series: Series, fired: set[tuple[str, str]], tmp_path: Path
) -> None:
    assert_fires(tmp_path, STATED, series, JUDGED, fired, every=STEP)


def test_the_mean_and_its_standard_error_are_those_of_the_losses(tmp_path: Path) -> None:
    series, error = told(10, 0.7, 0.5), 0.5 / (10 * JUDGED) ** 0.5
    for expr in (
        f"count({quality.LOSS} > 0.699 < 0.701)",
        f"count({quality.ERROR} > {0.9 * error} < {1.1 * error})",
    ):
        assert_samples(tmp_path, STATED, series, JUDGED, expr, {"{}": 1})


def test_without_labels_quality_is_unknown_and_not_good(tmp_path: Path) -> None:
    assert_samples(tmp_path, STATED, told(0, 0), JUDGED, quality.LOSS, {})


def test_the_value_of_decisions_is_that_of_their_outcomes(tmp_path: Path) -> None:
    worth = {"true_positive": 20, "false_positive": -5, "false_negative": 0, "true_negative": 0}
    series = {
        labelled(f"model_service_{name}", version="v1", outcome=outcome): values
        for outcome, value in worth.items()
        for name, values in (
            ("decisions_total", grows((2, MINUTES))),
            ("decision_value", f"{value}x{MINUTES}"),
        )
    }
    expected = 2 * (20 - 5) * JUDGED
    near = f"count({quality.VALUE} > {0.95 * expected} < {1.05 * expected})"
    assert_samples(tmp_path, STATED, series, JUDGED, near, {"{}": 1})
