"""What was measured, and whether it is what slo.yaml states."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from ..slo import Slo
from .drive import Outcome
from .targets import Usage

# What is judged, in the order of slo.yaml. The container itself enforces the other limits.
UNITS = {
    "latency_p50_ms": "ms",
    "latency_p99_ms": "ms",
    "error_share": "of requests",
    "degraded_share": "of requests",
    "throughput_per_worker": "requests/s",
    "memory_mib": "MiB",
    "cpu_cores": "cores",
}
AT_LEAST = {"throughput_per_worker"}
MAX_LATE_MS, GENERATOR_CORES = 10, 0.9
SPOILT_WHEN_LATE = {"latency_p50_ms", "latency_p99_ms", "throughput_per_worker"}


@dataclass(frozen=True)
class Load:
    """All that happened while a service was loaded; times in seconds on the monotonic clock."""

    target: str
    version: str
    workers: int
    outcomes: Sequence[Outcome]
    usages: Sequence[Usage]
    began: float
    full_speed_began: float
    ended: float
    generator_cores: float = 0.0
    """What the requests of this side took, at full speed."""
    was_killed: bool = False
    """The kernel ended a process of the service for want of memory."""


class Verdict(NamedTuple):
    """One number of slo.yaml; `measured` and `met` are None where nothing could be measured."""

    name: str
    stated: float
    measured: float | None
    met: bool | None

    @property
    def limit(self) -> str:
        """What is stated, in words."""
        bound = "at least" if self.name in AT_LEAST else "at most"
        return f"{bound} {self.stated:g} {UNITS[self.name]}"

    @property
    def found(self) -> str:
        """What was measured, in words."""
        if self.measured is None:
            return "not measured"
        if math.isinf(self.measured):
            return "out of memory" if self.name == "memory_mib" else "no answer"
        return f"{self.measured:.3g}" if self.measured < 100 else f"{self.measured:.0f}"


def judge(slo: Slo, load: Load) -> list[Verdict]:
    """Compare what was measured with what is stated."""
    stated = {**slo.objectives.model_dump(), **slo.budget.model_dump()}
    measured = measure(load)
    return [_verdict(name, stated[name], measured[name]) for name in UNITS]


def measure(load: Load) -> dict[str, float | None]:
    """Return what was measured, by the names of slo.yaml; None where nothing could be."""
    outcomes = load.outcomes
    answered = [each for each in outcomes if not each.failure]
    latency = milliseconds(each for each in outcomes if not (each.full_speed or each.large))
    fast = sum(each.full_speed and each.done <= load.ended for each in answered)
    at_rate = [u.cpu_cores for u in load.usages if load.began < u.at <= load.full_speed_began]
    memory = [each.memory_mib for each in load.usages]
    return {
        "latency_p50_ms": percentile(latency, 50),
        "latency_p99_ms": percentile(latency, 99),
        "error_share": 1 - len(answered) / max(len(outcomes), 1),
        "degraded_share": sum(each.degraded for each in answered) / max(len(answered), 1),
        "throughput_per_worker": fast / (load.ended - load.full_speed_began) / load.workers,
        "memory_mib": math.inf if load.was_killed else max(memory, default=None),
        "cpu_cores": fmean(at_rate) if at_rate else None,
    }


def is_spoilt(load: Load, verdicts: Iterable[Verdict]) -> bool:
    """Return whether something is missed, and all that is may be due to a busy machine.

    Requests are sent late only when this side is held up, whatever the service does.
    """
    missed = {verdict.name for verdict in verdicts if verdict.met is False}
    return bool(missed) and missed <= SPOILT_WHEN_LATE and lateness(load) > MAX_LATE_MS


def notes(load: Load) -> list[str]:
    """Return what one should know beside the numbers."""
    found = [f"{count} requests failed: {reason}." for reason, count in failures(load)]
    if (late := lateness(load)) > MAX_LATE_MS:
        found.append(
            f"1 of 100 requests was sent {late:.0f} ms late or more, which counts as latency: this "
            "machine is too busy to judge the service."
        )
    if load.generator_cores > GENERATOR_CORES:
        found.append(
            "At full speed sending took a whole core of this machine: the service may be faster."
        )
    return found


def lateness(load: Load) -> float:
    """Return how late this side sent 1 of 100 requests or later, in milliseconds."""
    late = [1000 * (each.sent - each.due) for each in load.outcomes if not each.full_speed]
    return percentile(late, 99)


def failures(load: Load) -> list[tuple[str, int]]:
    """Return why requests failed, and how many of them, the most frequent reason first."""
    return Counter(each.failure for each in load.outcomes if each.failure).most_common()


def milliseconds(outcomes: Iterable[Outcome]) -> list[float]:
    """Return the latencies; a request without an answer took for ever."""
    return [1000 * each.latency for each in outcomes]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that so many percent do not exceed; without values, infinity."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.inf


def _verdict(name: str, stated: float, measured: float | None) -> Verdict:
    if measured is None:
        return Verdict(name, stated, None, None)
    met = measured >= stated if name in AT_LEAST else measured <= stated
    return Verdict(name, stated, measured, met)
