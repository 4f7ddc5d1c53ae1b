"""The report of a load test."""

import math
import os
import platform
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from markupsafe import Markup

from ..reports.chart import Axis, Mark, Series, draw, reach, reach_log
from ..reports.page import bold, charts, code, heading, page, paragraph, state, table
from ..slo import Slo
from .drive import Outcome
from .judge import Load, Verdict, lateness, milliseconds, notes, percentile

POINTS, MIN_POINT_SECONDS = 60, 0.25
BINS_PER_POWER = 8
PERCENTS = (50, 90, 99, 99.9, 100)
PACKAGES = ("bentoml", "onnxruntime", "uvicorn", "aiohttp")


def render(slo: Slo, load: Load, verdicts: Sequence[Verdict]) -> str:
    """Return the report of a load test."""
    missed = [verdict for verdict in verdicts if verdict.met is False]
    title = f"Load test: {len(missed)} of {len(verdicts)} missed" if missed else "Load test: met"
    parts = [
        paragraph(_about(slo, load)),
        *map(Markup('<p class="note">{}</p>').format, notes(load)),
        table(["objective", "threshold", "measured", "met"], map(_verdict, verdicts)),
        charts(_charts(slo, load)),
        heading("Latency, ms"),
        table(["requests", "answered", *(_percent(each) for each in PERCENTS)], _latencies(load)),
        heading("Machine and versions"),
        table([], _machine(load)),
    ]
    return page(title, not missed, parts)


def _about(slo: Slo, load: Load) -> str:
    traffic, now = slo.traffic, datetime.now().astimezone()
    return (
        f"{load.target}, {now:%d %B %Y %H:%M %Z}: {traffic.requests_per_second:g} requests a "
        f"second, rows in each: {traffic.rows_per_request}, in {traffic.large_share:.0%} of them "
        f"{traffic.large_rows}, for {load.full_speed_began - load.began:.0f} s; then full speed, "
        f"shaded, for {load.ended - load.full_speed_began:.0f} s."
    )


def _verdict(verdict: Verdict) -> list[str]:
    """Return a row of the first table."""
    return [
        code(verdict.name),
        verdict.limit,
        bold(verdict.found),
        state(verdict.met),
    ]


def _charts(slo: Slo, load: Load) -> Iterator[Markup]:
    """Yield the charts."""
    objectives, budget = slo.objectives, slo.budget
    across = Axis(0, load.ended - load.began, label="seconds since the start")
    shaded = (load.full_speed_began - load.began, across.high)
    small = [each for each in load.outcomes if not each.large]

    latency = [
        Series(name, _over_time(load, small, percent))
        for name, percent in (("p50", 50), ("p99", 99))
    ]
    limit = Mark("objective for p99", objectives.latency_p99_ms)
    up = reach_log([y for each in latency for _, y in each.points], limit.value)
    yield draw("Latency over time, ms", latency, [limit], across, up, shaded)

    at_rate = [
        each for each in milliseconds(e for e in small if not e.full_speed) if each < math.inf
    ]
    along = reach_log(at_rate, objectives.latency_p99_ms)._replace(label="ms")
    bars = Series("requests at a constant rate", _histogram(at_rate, along), "bars")
    marks = [
        Mark("objective for p50", objectives.latency_p50_ms, upright=True),
        Mark("objective for p99", objectives.latency_p99_ms, upright=True),
    ]
    up = reach([y for _, y in bars.points])
    yield draw("Latency distribution", [bars], marks, along, up)

    answered = Series("answered", _per_second(load, failed=False))
    failed = Series("failed", _per_second(load, failed=True))
    limit = Mark("objective at full speed", objectives.throughput_per_worker * load.workers)
    up = reach([y for _, y in answered.points], limit.value)
    yield draw("Throughput, requests per second", [answered, failed], [limit], across, up, shaded)

    if load.usages:
        memory = [(each.at - load.began, each.memory_mib) for each in load.usages]
        limit = Mark("budget", budget.memory_mib)
        up = reach([y for _, y in memory], limit.value)
        yield draw("Memory, MiB", [Series("all processes", memory)], [limit], across, up, shaded)

        cpu = [(each.at - load.began, each.cpu_cores) for each in load.usages]
        limit = Mark("budget, on average", budget.cpu_cores)
        up = reach([y for _, y in cpu], limit.value)
        yield draw("CPU, cores", [Series("all processes", cpu)], [limit], across, up, shaded)


def _point_seconds(load: Load) -> float:
    return max((load.ended - load.began) / POINTS, MIN_POINT_SECONDS)


def _over_time(
    load: Load, outcomes: Sequence[Outcome], percent: float
) -> list[tuple[float, float]]:
    """Return a percentile of the latency, ms, of the requests that were due at about a time."""
    width = _point_seconds(load)
    buckets: defaultdict[int, list[float]] = defaultdict(list)
    for each in outcomes:
        if not each.failure:
            buckets[int((each.due - load.began) / width)].append(1000 * each.latency)
    return [
        ((at + 0.5) * width, percentile(values, percent)) for at, values in sorted(buckets.items())
    ]


def _per_second(load: Load, *, failed: bool) -> list[tuple[float, float]]:
    """Return how many requests a second came to an end, at about a time."""
    width = _point_seconds(load)
    counted = Counter(
        int((each.done - load.began) / width)
        for each in load.outcomes
        if bool(each.failure) is failed and each.done <= load.ended
    )
    last = int((load.ended - load.began) / width)  # which may be cut short
    return [((at + 0.5) * width, counted[at] / width) for at in range(last)]


def _histogram(values: Sequence[float], along: Axis) -> list[tuple[float, float]]:
    """Return how many values lie between one point and the next, in steps of equal ratio."""
    steps = round(math.log10(along.high / along.low)) * BINS_PER_POWER
    counted = Counter(
        math.floor(math.log10(value / along.low) * BINS_PER_POWER) for value in values
    )
    return [(along.low * 10 ** (at / BINS_PER_POWER), counted[at]) for at in range(steps)]


def _latencies(load: Load) -> Iterator[list[str]]:
    kinds = {
        "usual requests, constant rate": (False, False),
        "large requests, constant rate": (False, True),
        "usual requests, full speed": (True, False),
    }
    for name, (full_speed, large) in kinds.items():
        some = [e for e in load.outcomes if e.full_speed == full_speed and e.large == large]
        values = milliseconds(some)
        answered = sum(not each.failure for each in some)
        shown = [_number(percentile(values, percent)) for percent in PERCENTS] if some else []
        yield [name, f"{answered} of {len(some)}", *shown]


def _machine(load: Load) -> Iterator[list[str]]:
    memory = psutil.virtual_memory().total / 2**30
    yield ["model", load.version]
    yield ["workers", str(load.workers)]
    yield ["machine", f"{platform.platform()}, {_processor()}"]
    yield ["cores, memory", f"{os.cpu_count()}, {memory:.1f} GiB"]
    yield ["load average", ", ".join(f"{each:.2f}" for each in psutil.getloadavg())]
    yield ["sent late, p99", f"{lateness(load):.2g} ms"]
    yield ["this Python", platform.python_version()]
    yield ["packages here", ", ".join(f"{name} {version(name)}" for name in PACKAGES)]


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _percent(percent: float) -> str:
    return "slowest" if percent == 100 else f"p{percent:g}"


def _number(value: float) -> str:
    return (
        f"{value:.3g}" if value < 1000 else ("no answer" if math.isinf(value) else f"{value:.0f}")
    )
