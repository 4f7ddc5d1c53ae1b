"""Alerts fire when they should and are silent when they should, in Prometheus' own test tool."""

from pathlib import Path

import pytest

from chassis.monitoring.scenarios import (
    PAGE,
    STATED,
    TICKET,
    Series,
    assert_fires,
    grows,
    labelled,
    write,
)
from ml_chassis import slo
from ml_chassis.monitoring import rules
from prometheus import promtool

HOURS = 60
"""Minutes."""
ERRORS, LATENCY, DEGRADED = "ModelServiceErrors", "ModelServiceLatency", "ModelServiceDegraded"
BOTH = {(ERRORS, PAGE), (ERRORS, TICKET)}
"""What is sudden has soon used up a day's part of the budget, too."""


def stated(**objectives: float) -> slo.Slo:
    """Return slo.yaml with other objectives."""
    changed = STATED.objectives.model_copy(update=objectives)
    return STATED.model_copy(update={"objectives": changed})


def requests(good: str, bad: str, status: str = "503") -> Series:
    """Return how many requests are answered, and how many fail."""
    name = "model_service_requests_total"
    return {
        labelled(name, route="/predict", status="200"): good,
        labelled(name, route="/predict", status=status): bad,
    }


def latency(requests: str, slow: str, objective: str = "0.05x200") -> Series:
    """Return how many requests are answered, how many too late, and by which objective."""
    return {
        labelled("model_service_request_duration_seconds_count", route="/predict"): requests,
        labelled("model_service_slow_requests_total", route="/predict"): slow,
        labelled("model_service_latency_objective_seconds"): objective,
    }


def predictions(model: str, fallback: str) -> Series:
    """Return how many predictions are the model's, and how many the fallback's."""
    return {
        labelled("model_service_predictions_total", version="v1"): model,
        labelled("model_service_degraded_predictions_total", reason="slow"): fallback,
    }


def test_prometheus_accepts_the_rules(tmp_path: Path) -> None:
    promtool("check", "rules", "--lint-fatal", write(tmp_path, STATED))


@pytest.mark.parametrize(
    ("series", "fired"),
    [
        (requests(grows((600, 200)), grows((0.3, 200))), set()),
        (requests(grows((600, 200)), grows((0, 150), (120, 50))), BOTH),
        (requests(grows((600, 200)), grows((0, 150), (120, 50)), "429"), BOTH),
        (requests(grows((600, 200)), grows((0, 150), (120, 50)), "422"), set()),
        (requests(grows((600, 200)), grows((0, 100), (120, 50), (0, 50))), {(ERRORS, TICKET)}),
        (requests(grows((0.1, 200)), grows((0, 150), (0.1, 50))), set()),
        (latency(grows((600, 200)), grows((1, 200))), set()),
        (
            latency(grows((600, 200)), grows((0, 150), (300, 50))),
            {(LATENCY, PAGE), (LATENCY, TICKET)},
        ),
        (predictions(grows((600, 200)), grows((1, 200))), set()),
        (
            predictions(grows((600, 150), (0, 50)), grows((0, 150), (600, 50))),
            {(DEGRADED, PAGE), (DEGRADED, TICKET)},
        ),
        ({labelled("model_service_memory_bytes"): "450000000x200"}, set()),
        (
            {labelled("model_service_memory_bytes"): "500000000x200"},
            {("ModelServiceMemory", TICKET)},
        ),
    ],
    ids=[
        *("few fail", "many fail", "many are turned away", "many are refused"),
        *("many failed and do no more", "all of a handful fail"),
        *("few are slow", "many are slow", "few are the fallback's", "all are the fallback's"),
        *("memory is within", "memory is near its limit"),
    ],
)
def test_what_fires_after_some_hours(
    series: Series, fired: set[tuple[str, str]], tmp_path: Path
) -> None:
    assert_fires(tmp_path, STATED, series, 195, fired)


def test_requests_before_slow_ones_were_counted_are_not_slow(tmp_path: Path) -> None:
    begun = f"_x150 {grows((0, 50))}"
    assert_fires(tmp_path, STATED, latency(grows((600, 200)), begun), 195, set())


@pytest.mark.parametrize(
    "objective", ["0.1x200", "0x200", ""], ids=["another one", "none", "an older service"]
)
def test_a_service_that_does_not_count_by_the_objective_is_told(
    objective: str, tmp_path: Path
) -> None:
    series = latency(grows((600, 200)), grows((0, 200)), objective)
    shown = {name: values for name, values in series.items() if values}

    assert_fires(tmp_path, STATED, shown, 55, set())
    assert_fires(tmp_path, STATED, shown, 195, {("ModelServiceStaleObjective", TICKET)})


@pytest.mark.slow
def test_a_slow_burn_is_a_ticket_and_wakes_nobody(tmp_path: Path) -> None:
    minutes = 36 * HOURS  # the ticket looks back a day
    series = requests(grows((600, minutes)), grows((2.4, minutes)))  # four times the budget

    assert_fires(tmp_path, STATED, series, minutes - 5, {(ERRORS, TICKET)})


def test_another_objective_is_another_alert(tmp_path: Path) -> None:
    series = requests(grows((600, 200)), grows((0, 150), (120, 50)))

    assert_fires(tmp_path, stated(error_share=0.4), series, 195, set())
    assert rules.text(stated(error_share=0.4)) != rules.text(STATED)


def test_of_a_large_budget_an_alert_can_fire_too(tmp_path: Path) -> None:
    series = predictions(grows((600, 150), (0, 50)), grows((0, 150), (600, 50)))

    fired = {(DEGRADED, PAGE), (DEGRADED, TICKET)}
    assert_fires(tmp_path, stated(degraded_share=0.2), series, 195, fired)


def test_a_service_that_is_not_seen_wakes_somebody(tmp_path: Path) -> None:
    started = {labelled("model_service_start_time_seconds"): "1x30 _x30"}

    assert_fires(tmp_path, STATED, started, 25, set(), alive=False)
    assert_fires(tmp_path, STATED, started, 50, {("ModelServiceAbsent", PAGE)}, alive=False)


@pytest.mark.parametrize(
    ("values", "fired"),
    [
        ([grows((0, 190), (1, 10))], True),
        ([grows((1, 150), (0, 50))], False),
        (["5x190 6x3 7x6"], False),
        (["_x194 3 5x4"], False),
        (["0x190 3x9"] * 2, True),
        (["0x190 1x9"] * 3, False),
        (["9x190 1x3 2x6"], False),
    ],
    ids=[
        *("one a minute", "one a minute until a while ago", "two", "two soon after it was seen"),
        *("three of each replica", "one of each of three replicas", "two since the start"),
    ],
)
def test_workers_that_end_again_and_again_are_told(
    values: list[str], fired: bool, tmp_path: Path
) -> None:
    name = "model_service_workers_ended_total"
    series = {labelled(name, instance=str(at)): each for at, each in enumerate(values)}
    told = {("ModelServiceWorkersCrash", TICKET)} if fired else set()
    assert_fires(tmp_path, STATED, series, 199, told)


def test_tracks_are_judged_apart(tmp_path: Path) -> None:
    good = requests(grows((6_000, 200)), grows((0, 200)))
    bad = requests(grows((6, 200)), grows((0, 150), (6, 50)))
    canary = {name.replace("stable", "canary"): values for name, values in bad.items()}

    assert_fires(tmp_path, STATED, good | canary, 195, BOTH)


def test_the_owner_is_told(tmp_path: Path) -> None:
    owners = {
        rule["labels"].get("owner")
        for rule in rules.rules(STATED.model_copy(update={"owner": "team"}))["groups"][-1]["rules"]
    }
    assert owners == {"team"}
    promtool("check", "rules", write(tmp_path, STATED.model_copy(update={"owner": ""})))


def test_the_rules_of_one_service_are_not_about_another(tmp_path: Path) -> None:
    series = requests(grows((600, 200)), grows((0, 150), (120, 50)))
    other = STATED.model_copy(update={"job": "other"})
    assert_fires(tmp_path, other, series, 195, {("ModelServiceAbsent", PAGE)})
    of_all = STATED.model_copy(update={"job": ""})
    assert_fires(tmp_path, of_all, series, 195, BOTH)


def test_the_test_can_fail(tmp_path: Path) -> None:
    series = requests(grows((600, 200)), grows((0, 150), (120, 50)))

    with pytest.raises(AssertionError, match=ERRORS):
        assert_fires(tmp_path, STATED, series, 195, set())
