"""A canary is judged by what it counts beside stable, in Prometheus' own test tool."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chassis.monitoring import scenarios
from chassis.monitoring.releases import Counts, judge
from chassis.monitoring.scenarios import STATED, Series, grows, labelled
from ml_chassis.monitoring.rules import release
from ml_chassis.slo import Slo

MINUTES, JUDGED = 16, 15
WINDOW = STATED.release.window_minutes
SAME = (10.0, 20.0, 30.0, 40.0)
"""Predictions in each bin, of 100."""
OTHER = (40.0, 30.0, 20.0, 10.0)
MEMORY, ENDED = "model_service_memory_bytes", "model_service_workers_ended_total"
VERDICT, PROBLEM = release.VERDICT, release.PROBLEM


def stated(**changed: object) -> Slo:
    """Return slo.yaml with another [release]."""
    given = STATED.release.model_copy(update=changed)
    return STATED.model_copy(update={"release": given})


def counted(
    requests: float = 100,
    failed: float = 0.1,
    slow: float = 1,
    degraded: float = 0,
    predicted: tuple[float, ...] = SAME,
    refused: float = 0,
    bins: str = "a1",
    minutes: int = MINUTES,
    memory: float = 2e8,
    start: str = "",
    ended: str = "",
    **labels: str,
) -> Series:
    """Return what a replica shows.

    Args:
        requests: A minute.
        failed: Of 100.
        slow: Of 100.
        degraded: Of 100.
        predicted: Of 100, in each bin.
        refused: Of 100, which are asked beside the others.
        bins: The fingerprint of the bins.
        minutes: After them it is gone.
        memory: In bytes.
        start: Its start, where that is not the same all the time.
        ended: How many of its workers have ended, where one has.
        labels: Its track, and others than usual.
    """
    place = {"instance": "1", **labels}
    each = requests / 100

    def counter(name: str, per_minute: float, **more: str) -> tuple[str, str]:
        return labelled(f"model_service_{name}", **place, **more), grows((per_minute, minutes))

    shown = dict(
        [
            counter("requests_total", requests - failed * each, route="/predict", status="200"),
            counter("requests_total", failed * each, route="/predict", status="503"),
            counter("request_duration_seconds_count", requests, route="/predict"),
            counter("slow_requests_total", slow * each, route="/predict"),
            counter("requests_total", refused * each, route="/predict", status="422"),
            counter("degraded_requests_total", degraded * each, reason="error"),
            *(
                counter("prediction_bin_total", rows * each, version="v1", bins=bins, bin=str(at))
                for at, rows in enumerate(predicted)
            ),
        ]
    )
    begun = labelled("model_service_start_time_seconds", **place)
    others = {
        begun: start or f"1000x{minutes - 1}",
        labelled(MEMORY, **place): f"{memory}x{minutes - 1}",
        labelled(ENDED, **place): ended or f"0x{minutes - 1}",
    }
    return {name: f"{values} stale" for name, values in (shown | others).items()}


def canary(**changed: Any) -> Series:
    return counted(**{"instance": "2", "track": "canary", **changed})


def stable(**changed: Any) -> Series:
    return counted(**{"requests": 1_000, **changed})


def assert_samples(
    folder: Path, about: Slo, series: Series, expression: str, expected: dict[str, float]
) -> None:
    group = {"every": release.INTERVAL, "group": "model_service_release"}
    scenarios.assert_samples(folder, about, series, JUDGED, expression, expected, **group)


def assert_judged(
    folder: Path, series: Series, verdict: int | None, *reasons: str, about: Slo = STATED
) -> None:
    """Fail unless this is the verdict, because of these reasons and no others."""
    expected = {f'{PROBLEM}{{job="service",reason="{reason}"}}': 1.0 for reason in reasons}
    if verdict is not None:
        expected[f'{VERDICT}{{job="service"}}'] = verdict
    asked = f"{VERDICT} or {PROBLEM}"
    assert_samples(folder, about, series, asked, expected)


@pytest.mark.parametrize(
    ("beside", "verdict", "reasons"),
    [
        (canary(), 1, []),
        (canary(failed=2), -1, ["errors"]),
        (canary(failed=0.4), 1, []),
        (canary(slow=6), -1, ["latency"]),
        (canary(slow=3), 1, []),
        (canary(degraded=5), -1, ["degraded"]),
        (canary(degraded=0.5), 1, []),
        (canary(refused=50), -1, ["refused"]),
        (canary(refused=0.5), 1, []),
        (canary(predicted=OTHER), -1, ["predictions"]),
        (canary(predicted=(11, 21, 29, 39)), 1, []),
        (canary(failed=30, slow=40), -1, ["errors", "latency"]),
        (canary(requests=40), 0, []),
        (canary(requests=40, slow=30, degraded=100, predicted=OTHER), 0, []),
        (canary(requests=40, failed=25), -1, ["errors"]),
        (canary(requests=0, memory=5e8), -1, ["memory"]),
        (canary(memory=4.8e8), 1, []),
        ({}, None, []),
    ],
    ids=[
        *("as good", "more fail", "four fail", "more are slow", "some more are slow"),
        *("more are degraded", "few are degraded", "more are refused", "few are refused"),
        *("predicts otherwise", "predicts nearly alike"),
        *("two problems", "few requests", "few requests, all wrong", "few requests, many fail"),
        *("memory is near its limit", "memory is within", "there is none"),
    ],
)
def test_the_verdict_on_a_canary(
    beside: Series, verdict: int | None, reasons: list[str], tmp_path: Path
) -> None:
    assert_judged(tmp_path, stable() | beside, verdict, *reasons)


@pytest.mark.parametrize("bad", [{"failed": 5}, {"slow": 9}, {"memory": 5e8}])
def test_what_stable_does_too_is_no_problem_of_the_canary(
    bad: dict[str, float], tmp_path: Path
) -> None:
    assert_judged(tmp_path, stable(**bad) | canary(**bad), 1)


def test_of_four_failures_nothing_is_concluded(tmp_path: Path) -> None:
    faultless = stable(failed=0)
    assert_judged(tmp_path, faultless | canary(failed=0.4), 1)
    assert_judged(tmp_path, faultless | canary(failed=0.5), -1, "errors")


def test_a_difference_that_is_certain_must_also_matter(tmp_path: Path) -> None:
    many = stable(requests=1e6) | canary(requests=1e6, failed=0.15, predicted=(11, 19, 30, 40))
    assert_judged(tmp_path, many, 1)


@pytest.mark.parametrize(
    "missing",
    [
        *("requests_total", "request_duration_seconds_count", "slow_requests_total"),
        *("degraded_requests_total", "prediction_bin_total"),
    ],
)
@pytest.mark.parametrize("track", ["stable", "canary"])
def test_what_is_not_known_is_not_good(missing: str, track: str, tmp_path: Path) -> None:
    shown = {
        name: values
        for name, values in (stable() | canary()).items()
        if not (name.startswith(f"model_service_{missing}{{") and f'track="{track}"' in name)
    }
    assert len(shown) < len(stable() | canary())
    assert_judged(tmp_path, shown, 0)


def test_without_stable_nothing_is_known(tmp_path: Path) -> None:
    assert_judged(tmp_path, canary(failed=50), 0)
    assert_judged(tmp_path, stable(requests=10) | canary(), 0)


def test_other_bins_are_not_compared_but_those_of_the_champion_are(tmp_path: Path) -> None:
    retrained = canary(bins="b2", predicted=(25, 25, 25, 25))
    assert_judged(tmp_path, stable() | retrained, 0)
    alike, other = (canary(predicted=each) for each in (SAME, OTHER))
    assert_judged(tmp_path, stable() | retrained | alike, 1)
    assert_judged(tmp_path, stable() | retrained | other, -1, "predictions")


def test_all_replicas_count(tmp_path: Path) -> None:
    replicas = stable() | canary(requests=30) | canary(requests=70, instance="3")

    assert_judged(tmp_path, replicas, 1)
    near = f"count({release.REQUESTS} {close_to(1_000)})"
    assert_samples(tmp_path, STATED, replicas, near, {"{}": 1})


def test_a_counter_that_begins_anew_has_not_shrunk(tmp_path: Path) -> None:
    reset = {
        name: f"{values.removesuffix(' stale')[: values.index('x')]}x9 {values}"
        for name, values in canary(minutes=6).items()
        if "_total" in name or "_duration_" in name
    }
    others = {name: values for name, values in canary().items() if name not in reset}
    assert len(others) == 2

    assert_judged(tmp_path, stable() | reset | others, 1)


def test_services_are_judged_apart(tmp_path: Path) -> None:
    both = [stable(job=job) | canary(job=job, failed=bad) for job, bad in (("a", 0.1), ("b", 9))]
    about = STATED.model_copy(update={"job": ""})
    expected = {f'{VERDICT}{{job="a"}}': 1.0, f'{VERDICT}{{job="b"}}': -1.0}

    assert_samples(tmp_path, about, both[0] | both[1], VERDICT, expected)


OBJECTIVES = STATED.objectives.model_copy(update={"error_share": 0.3})


@pytest.mark.parametrize(
    ("about", "reasons"),
    [
        (stated(least_requests=20_000), ["errors"]),
        (stated(psi=2), ["errors", "degraded"]),
        (STATED.model_copy(update={"objectives": OBJECTIVES}), ["predictions", "degraded"]),
    ],
)
def test_another_slo_is_another_verdict(about: Slo, reasons: list[str], tmp_path: Path) -> None:
    bad = stable() | canary(failed=20, degraded=40, predicted=OTHER)

    assert_judged(tmp_path, bad, -1, *reasons, about=about)
    assert_judged(tmp_path, bad, -1, "errors", "degraded", "predictions")


def test_the_window_is_that_of_the_slo(tmp_path: Path) -> None:
    for minutes in (5, 12):
        near = f"count({release.REQUESTS} {close_to(100 * minutes)})"
        about = stated(window_minutes=minutes)
        assert_samples(tmp_path, about, stable() | canary(), near, {"{}": 1})


GONE = canary(minutes=10)


def test_a_canary_that_is_gone_has_a_problem(tmp_path: Path) -> None:
    assert_judged(tmp_path, stable() | GONE, -1, "absent")
    assert_judged(tmp_path, stable() | canary(minutes=3), None)  # before the window


def test_a_canary_that_is_not_seen_for_a_minute_is_not_gone(tmp_path: Path) -> None:
    assert_judged(tmp_path, stable() | canary(minutes=14), None)


def test_where_nothing_is_seen_the_canary_is_not_to_blame(tmp_path: Path) -> None:
    assert_judged(tmp_path, stable(minutes=10) | GONE, None)


STARTED_ONCE, STARTED_TWICE = "1000x9 1600x5", "1000x7 1500x3 1800x3"
ENDED_ONCE, ENDED_TWICE = "0x8 1x6", "0x6 1x2 2x5"


@pytest.mark.parametrize(
    ("beside", "crashes"),
    [
        (canary(start=STARTED_ONCE), False),
        (canary(start=STARTED_TWICE), True),
        (canary(ended=ENDED_ONCE), False),
        (canary(ended=ENDED_TWICE), True),
        (canary(ended="0x8 2x6"), True),
        (canary(ended="0x2 1 2x11"), False),
        (canary(ended="7x6 8x2 9x5"), True),
        (canary(ended="7x6 8x2 0x5"), False),
        (canary(ended="7x6 0x2 2x5"), True),
        (canary(start=STARTED_ONCE) | canary(start=STARTED_ONCE, instance="3"), False),
        (canary(start=STARTED_TWICE) | canary(instance="3"), True),
        (canary(ended=ENDED_ONCE) | canary(ended=ENDED_ONCE, instance="3"), False),
        (canary(start=STARTED_ONCE, ended="1x9 0x2 1x2"), True),
    ],
    ids=[
        *("started once", "started twice", "a worker ended", "two ended", "two at once"),
        *("two before the window", "two more", "all before the start", "two since the start"),
        *("two replicas started", "one of two started twice", "a worker of two replicas each"),
        "started once, and a worker ended",
    ],
)
def test_a_canary_that_crashes_again_and_again_has_a_problem(
    beside: Series, crashes: bool, tmp_path: Path
) -> None:
    assert_judged(tmp_path, stable() | beside, -1 if crashes else 1, *["crashes"] * crashes)


@pytest.mark.parametrize(
    "often", [{"start": STARTED_TWICE}, {"ended": ENDED_TWICE}], ids=["started", "ended"]
)
def test_an_outage_that_hits_stable_as_often_is_no_problem_of_the_canary(
    often: dict[str, Any], tmp_path: Path
) -> None:
    hit, spared = stable(**often), stable(instance="9")
    assert_judged(tmp_path, hit | canary(**often), 1)
    assert_judged(tmp_path, hit | spared | canary(**often), -1, "crashes")
    assert_judged(tmp_path, hit | spared | canary(**often) | canary(instance="3"), 1)


def test_a_stable_that_does_not_count_its_workers_is_no_excuse(tmp_path: Path) -> None:
    older = {name: values for name, values in stable().items() if ENDED not in name}
    assert_judged(tmp_path, older | canary(ended=ENDED_TWICE), -1, "crashes")
    assert_judged(tmp_path, older | canary(ended=ENDED_ONCE), 1)


def test_the_canary_before_is_not_held_against_this_one(tmp_path: Path) -> None:
    bad = {"requests": 1_000, "failed": 50, "slow": 50, "minutes": 8, "ended": "0x3 5x3"}
    before = canary(**bad, start="1000x3 1300 1400x2", instance="9")
    assert_judged(tmp_path, stable() | before | canary(), 1)


def told(track: str, labels: float, loss: float, acted: tuple[float, float]) -> Series:
    """Return what stable's replica shows of the labels of a track, so many a minute.

    Args:
        track: That predicted.
        labels: A minute.
        loss: Their mean.
        acted: True and false positives of 100.
    """
    place = {"instance": "1", "track": track, "version": "v1"}
    sums = {
        "labelled_rows": labels,
        "loss": labels * loss,
        "squared_loss": labels * (loss**2 + 0.3**2),
    }
    rows = {
        labelled(f"model_service_{name}_total", slice="(all)", **place): grows((each, MINUTES))
        for name, each in sums.items()
    }
    outcomes = {"true_positive": (acted[0], 20), "false_positive": (acted[1], -5)}
    for outcome, (share, value) in outcomes.items():
        labelled_so = labelled("model_service_decisions_total", outcome=outcome, **place)
        rows[labelled_so] = grows((labels * share / 100, MINUTES))
        worth = labelled("model_service_decision_value", outcome=outcome, **place)
        rows[worth] = f"{value}x{MINUTES}"
    return rows


@pytest.mark.parametrize(
    ("labels", "loss", "acted", "reasons"),
    [
        (100, 0.5, (60, 40), []),
        (100, 0.7, (60, 40), ["quality"]),
        (100, 0.5, (30, 70), ["value"]),
        (100, 0.51, (59, 41), []),
        (100, 0.3, (90, 10), []),
        (5, 0.9, (10, 90), []),
    ],
    ids=["as good", "worse", "worth less", "hardly worse", "better", "few labels"],
)
def test_labels_that_came_are_judged(
    labels: float, loss: float, acted: tuple[float, float], reasons: list[str], tmp_path: Path
) -> None:
    shown = told("stable", 1_000, 0.5, (60, 40)) | told("canary", labels, loss, acted)

    assert_judged(tmp_path, stable() | canary() | shown, -1 if reasons else 1, *reasons)


def test_a_loss_that_is_certainly_but_hardly_higher_is_no_problem(tmp_path: Path) -> None:
    shown = told("stable", 1e5, 0.5, (60, 40)) | told("canary", 1e5, 0.51, (59, 41))
    assert_judged(tmp_path, stable() | canary() | shown, 1)


def test_the_difference_by_labels_is_that_of_two_means(tmp_path: Path) -> None:
    shown = told("stable", 1_000, 0.5, (60, 40)) | told("canary", 100, 0.7, (30, 70))
    canary_values, stable_values = (
        np.repeat([20, -5], counts) for counts in ((300, 700), (6_000, 4_000))
    )
    value = (canary_values.mean() - stable_values.mean()) / np.sqrt(
        canary_values.var() / 1_000 + stable_values.var() / 10_000
    )
    loss = 0.2 / np.sqrt(0.3**2 / 1_000 + 0.3**2 / 10_000)

    for reason, expected in (("value", float(value)), ("quality", float(loss))):
        near = f'count({release.Z}{{reason="{reason}"}} {close_to(expected)})'
        assert_samples(tmp_path, STATED, stable() | canary() | shown, near, {"{}": 1})


def close_to(value: float) -> str:
    """Return a filter of samples that have this value but for rounding."""
    rounding = 1e-9 * abs(value) + 1e-9
    return f"> {value - rounding:.17g} < {value + rounding:.17g}"


@pytest.mark.parametrize(
    ("now", "before"),
    [
        ({"failed": 3, "slow": 4, "degraded": 7, "predicted": (12, 18, 31, 39)}, {}),
        ({"requests": 55, "failed": 0.5, "predicted": OTHER}, {"requests": 4_300, "failed": 0.2}),
    ],
)
def test_the_simulation_computes_as_prometheus_does(
    now: dict[str, Any], before: dict[str, Any], tmp_path: Path
) -> None:
    found = judge(STATED, counts({"requests": 100, **now}), counts({"requests": 1_000, **before}))
    expected = {
        **{f'{release.Z}{{reason="{name}"}}': each[0] for name, each in found.z.items()},
        release.PSI: found.psi[0],
        release.LIMIT: found.limit[0],
        release.VERDICT: found.verdict[0],
    }

    near = " + ".join(f"count({name} {close_to(float(value))})" for name, value in expected.items())
    series = stable(**before) | canary(**now)
    assert_samples(tmp_path, STATED, series, near, {"{}": float(len(expected))})
    problems = [name for name, each in found.problems.items() if each[0]]
    assert_judged(tmp_path, series, int(found.verdict[0]), *problems)


def counts(replica: dict[str, Any]) -> Counts:
    """Return what `counted` shows of a window."""
    given = {"failed": 0.1, "slow": 1, "degraded": 0, "predicted": SAME, **replica}
    requests = np.array([WINDOW * given["requests"]])
    shares = [requests * given[name] / 100 for name in ("failed", "slow", "degraded")]
    return Counts(
        requests, shares[0], shares[1], shares[2], requests / 100 * np.array([given["predicted"]])
    )


def test_the_test_can_fail(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="errors"):
        assert_judged(tmp_path, stable() | canary(failed=9), 1)
