"""Each number of slo.yaml that is missed is named, and no other."""

import math
from dataclasses import replace
from typing import Any

import pytest

from ml_chassis import slo
from ml_chassis.loading.drive import Outcome
from ml_chassis.loading.judge import UNITS, Load, is_spoilt, judge, notes, percentile
from ml_chassis.loading.report import render
from ml_chassis.loading.targets import Usage
from ml_chassis.slo import Slo

STATED = Slo.model_validate(
    {
        "traffic": {
            "requests_per_second": 100,
            "rows_per_request": 1,
            "large_share": 0.1,
            "large_rows": 10,
        },
        "objectives": {
            "latency_p50_ms": 10,
            "latency_p99_ms": 50,
            "error_share": 0.001,
            "degraded_share": 0.01,
            "throughput_per_worker": 100,
        },
        "budget": {"memory_mib": 512, "cpu_cores": 0.25, "cpu_cores_limit": 1},
    }
)


def outcome(at: float, ms: float = 1, failure: str = "", **what: bool) -> Outcome:
    flags = {"full_speed": False, "large": False, "degraded": False, **what}
    return Outcome(due=at, sent=at, done=at + ms / 1000, failure=failure, **flags)


SMALL = [outcome(at / 100) for at in range(1_000)]
LARGE = [outcome(at / 10, 400, large=True) for at in range(100)]
FAST = [outcome(10 + at / 500, 20, full_speed=True) for at in range(900)]
USED = [Usage(float(at), 200, 0.1) for at in range(1, 10)]
GOOD = Load(
    target="a service",
    version="1",
    workers=1,
    outcomes=[*SMALL, *LARGE, *FAST],
    usages=[*USED, Usage(11, 300, 0.9)],
    began=0,
    full_speed_began=10,
    ended=12,
)


def missed(load: Load) -> list[str]:
    return [verdict.name for verdict in judge(STATED, load) if verdict.met is False]


def of(load: Load, name: str) -> float | None:
    (found,) = (verdict.measured for verdict in judge(STATED, load) if verdict.name == name)
    return found


def test_a_good_service_meets_everything() -> None:
    assert [verdict.met for verdict in judge(STATED, GOOD)] == [True] * len(UNITS)


def test_every_objective_is_judged_and_all_of_the_budget_but_the_limit() -> None:
    stated = [*slo.Objectives.model_fields, *slo.Budget.model_fields]
    assert [*UNITS, "cpu_cores_limit"] == stated


@pytest.mark.parametrize(
    ("name", "worse"),
    [
        ("latency_p50_ms", {"outcomes": [*(outcome(0, 11) for _ in SMALL), *LARGE, *FAST]}),
        ("latency_p99_ms", {"outcomes": [*(outcome(0, 51) for _ in range(11)), *GOOD.outcomes]}),
        ("error_share", {"outcomes": [*GOOD.outcomes, *[outcome(0, 1, "503", large=True)] * 3]}),
        ("degraded_share", {"outcomes": [*GOOD.outcomes, *[outcome(0, degraded=True)] * 21]}),
        ("throughput_per_worker", {"workers": 5}),
        ("memory_mib", {"usages": [*USED, Usage(11, 513, 0.9)]}),
        ("memory_mib", {"was_killed": True}),
        ("cpu_cores", {"usages": [Usage(float(at), 200, 0.26) for at in range(1, 10)]}),
    ],
)
def test_what_is_missed_is_named(name: str, worse: dict[str, Any]) -> None:
    assert missed(replace(GOOD, **worse)) == [name]


def test_a_request_without_an_answer_took_for_ever() -> None:
    lost = replace(GOOD, outcomes=[outcome(0, 1, "503") for _ in range(11)] + SMALL + FAST)

    assert of(lost, "latency_p99_ms") == math.inf
    assert notes(lost) == ["11 requests failed: 503."]


def test_nothing_is_judged_that_could_not_be_measured() -> None:
    verdicts = judge(STATED, replace(GOOD, usages=[]))

    assert [verdict.name for verdict in verdicts if verdict.met is None] == [
        "memory_mib",
        "cpu_cores",
    ]


def test_a_service_that_answers_nothing_misses_what_callers_expect() -> None:
    nothing = replace(GOOD, outcomes=[outcome(0, 1, "503")])

    assert missed(nothing) == [
        "latency_p50_ms",
        "latency_p99_ms",
        "error_share",
        "throughput_per_worker",
    ]
    assert "no answer" in render(STATED, nothing, judge(STATED, nothing))


LATE = [outcome(0)._replace(sent=0.011, done=0.06) for _ in range(20)]


@pytest.mark.parametrize(
    ("outcomes", "spoilt"),
    [
        ([*LATE, *GOOD.outcomes], True),
        ([*LATE, *GOOD.outcomes, *[outcome(0, 1, "503", large=True)] * 3], False),
        ([each._replace(done=0.001) for each in LATE] + list(GOOD.outcomes), False),
        ([*[outcome(0, 60)] * 20, *GOOD.outcomes], False),
    ],
    ids=["late and slow", "late and failed", "late but met", "slow but in time"],
)
def test_only_what_a_busy_machine_explains_is_measured_again(
    outcomes: list[Outcome], spoilt: bool
) -> None:
    load = replace(GOOD, outcomes=outcomes)
    assert is_spoilt(load, judge(STATED, load)) is spoilt


def test_what_makes_the_numbers_doubtful_is_told() -> None:
    assert "too busy" in " ".join(notes(replace(GOOD, outcomes=[*LATE, *SMALL])))
    assert "may be faster" in " ".join(notes(replace(GOOD, generator_cores=0.95)))
    assert notes(GOOD) == []


def test_latency_counts_from_when_a_request_was_to_be_sent() -> None:
    assert outcome(5)._replace(sent=7, done=8).latency == 3


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([3, 1, 2], 50, 2),
        ([3, 1, 2, 4], 50, 2),
        (range(1, 101), 99, 99),
        ([5], 99, 5),
        ([], 50, math.inf),
    ],
)
def test_percentiles(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected
