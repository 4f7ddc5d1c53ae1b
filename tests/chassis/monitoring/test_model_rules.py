"""A model that is old and a retraining that ended badly are told, in Prometheus' own test tool."""

from pathlib import Path

import pytest

from chassis.monitoring.scenarios import STATED, TICKET, Series, assert_fires, labelled
from ml_chassis import slo
from ml_chassis.monitoring import rules
from ml_chassis.monitoring.rules.rule import RETRAIN

MINUTES, JUDGED = 26 * 60, 26 * 60 - 5
OLD = STATED.model_copy(update={"freshness": slo.Freshness(model_days=1)})
AGE = {("ModelServiceModelAge", TICKET)}
RETRAINING = {("ModelServiceRetraining", TICKET)}


def served(created: float, workers: int = 1, version: str = "v1") -> Series:
    """Return what a replica shows of a version that was trained then, in seconds."""
    return {
        labelled("model_service_model_workers", version=version): f"{workers}x{MINUTES}",
        labelled("model_service_model_created_timestamp_seconds", version=version): (
            f"{created}x{MINUTES}"
        ),
    }


def ended(**times: float) -> Series:
    """Return what a retrainer shows: when a retraining last ended so."""
    return {
        labelled("model_service_retraining_end_timestamp_seconds", outcome=outcome): f"{time}x200"
        for outcome, time in {"promoted": 0.0, "refused": 0.0, **times}.items()
    }


@pytest.mark.parametrize(
    ("series", "fired"),
    [
        (served(1), AGE),
        (served(5 * 3_600), set()),
        (served(1, workers=0), set()),
        ({**served(1, workers=0), **served(5 * 3_600, version="v2")}, set()),
    ],
    ids=["old", "young", "old and not served", "replaced"],
)
def test_a_model_that_is_served_for_too_long_asks_for_a_retraining(
    series: Series, fired: set[tuple[str, str]], tmp_path: Path
) -> None:
    assert_fires(tmp_path, OLD, series, JUDGED, fired)


@pytest.mark.parametrize(
    ("series", "fired"),
    [
        (ended(), set()),
        (ended(promoted=100), set()),
        (ended(refused=100), RETRAINING),
        (ended(promoted=100, refused=200), RETRAINING),
        (ended(promoted=200, refused=100), set()),
        (ended(nothing_new=200, failed=100), set()),
        (ended(not_asked=200, asked=100), RETRAINING),
        (ended(killed=200, declined=300), RETRAINING),
        (ended(promoted=200, declined=300), set()),
        (ended(refused=100, nothing_new=200), RETRAINING),
        (ended(refused=100, failed=200, nothing_new=300), set()),
        ({**ended(failed=100), **served(200)}, set()),
        ({**ended(failed=200), **served(100)}, RETRAINING),
        ({**ended(failed=100), **served(200, workers=0)}, RETRAINING),
    ],
    ids=[
        *("none yet", "promoted", "refused", "refused after another", "promoted after all"),
        *("failed before", "not asked", "killed, then declined", "promoted, then declined"),
        *("still refused", "failed after it was refused", "a newer model", "an older model"),
        "a newer model that is not served",
    ],
)
def test_the_last_retraining_is_told_where_it_did_not_end_well(
    series: Series, fired: set[tuple[str, str]], tmp_path: Path
) -> None:
    assert_fires(tmp_path, STATED, series, 195, fired)


@pytest.mark.parametrize(
    ("values", "fired"),
    [("0x100 _x100", True), ("0x200", False), ("_x200", False), ("0x190 _x10", False)],
    ids=["gone", "there", "never there", "gone a moment ago"],
)
def test_a_retrainer_that_is_not_seen_any_more_is_told(
    values: str, fired: bool, tmp_path: Path
) -> None:
    series = {labelled("model_service_retraining_end_timestamp_seconds", outcome="failed"): values}
    told = {("ModelServiceRetrainerAbsent", TICKET)} if fired else set()
    assert_fires(tmp_path, STATED, series, 195, told)


def test_these_alerts_ask_for_a_retraining() -> None:
    found = rules.rules(STATED)["groups"][-1]["rules"]
    assert {each["alert"] for each in found if each["labels"].items() >= RETRAIN.items()} == {
        *("ModelServiceFeatureDrift", "ModelServicePredictionDrift"),
        *("ModelServiceQuality", "ModelServiceModelAge"),
    }
