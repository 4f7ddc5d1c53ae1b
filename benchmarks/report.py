"""What the measurements say: medians over the rounds, ratios within a round, targets.

python -m benchmarks.report FOLDER writes results.md anew from results.json.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal, TypedDict

from .contestants import LOADS, TABLES, Format, Load


class Slice(TypedDict):
    """What was seen of one server in one slice under one load."""

    server: str
    rows: int
    clients: int
    format: Format
    round: int
    requests: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_us: float  # CPU time of all processes of the server, per request
    request_bytes: int
    generator_cores: float  # CPU time of wrk per second
    other_cores: float  # of everything else on the machine


class Results(TypedDict):
    """The whole of results.json."""

    about: dict[str, str]
    rounds: int
    seconds: int
    servers: dict[str, dict[str, str]]
    absent: list[str]
    cold_start_s: dict[str, list[float]]
    resident_mb: dict[str, list[float]]  # of each process after the last slice, the first one first
    slices: list[Slice]


Measure = Literal["requests_per_second", "p50_ms", "p99_ms", "cpu_us", "generator_cores"]
BUSY_CORES = 0.1
ONE, MANY = Load(1, 64), Load(100, 64)


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured: a number of each round, none where it cannot be known."""

    text: str
    target: float
    numbers: Sequence[float]
    at_most: bool = False
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median meets the target; None when there is none."""
        if not self.numbers:
            return None
        value = median(self.numbers)
        return value <= self.target if self.at_most else value >= self.target

    def cells(self) -> tuple[str, str, str, str]:
        """Return text, target, what was measured, and whether the target is met."""
        sign = "at most" if self.at_most else "at least"
        met = {True: "met", False: "NOT MET", None: "NOT MEASURED"}[self.met]
        return self.text, f"{sign} {self.target:g}{self.unit}", self._measured(), met

    def _measured(self) -> str:
        if not self.numbers:
            return "-"
        low, middle, high = min(self.numbers), median(self.numbers), max(self.numbers)
        spread = f" ({short(low)} to {short(high)})" if len(self.numbers) > 1 else ""
        return f"{short(middle)}{self.unit}{spread}"


def slices_of(results: Results, server: str, load: Load) -> list[Slice]:
    """Return the slices of one server under one load, by round."""
    found = [
        one
        for one in results["slices"]
        if one["server"] == server and (one["rows"], one["clients"], one["format"]) == load
    ]
    return sorted(found, key=lambda one: one["round"])


def problem(slices: Iterable[Slice]) -> str | None:
    """Return why slices cannot be used; one error spoils all rounds of that load."""
    slices = list(slices)
    if not slices:
        return "not measured"
    if errors := sum(one["errors"] for one in slices):
        return f"INVALID: {errors} error{'s' * (errors > 1)}"
    if not all(one["requests"] for one in slices):
        return "INVALID: no answer"
    return None


def values(results: Results, measure: Measure, server: str, load: Load) -> list[float]:
    """Return one number per round, none where they cannot be used."""
    slices = slices_of(results, server, load)
    return [] if problem(slices) else [one[measure] for one in slices]


def ratios(results: Results, measure: Measure, load: Load, over: str, under: str) -> list[float]:
    """Return the ratio of two servers within each round, none where either cannot be used."""
    pair = values(results, measure, over, load), values(results, measure, under, load)
    return [left / right for left, right in zip(*pair, strict=True)] if all(pair) else []


def verdicts(results: Results) -> list[Verdict]:
    """Return every target with what was measured."""

    def faster(other: str, load: Load, target: float, ours: str = "ours") -> Verdict:
        found = ratios(results, "requests_per_second", load, ours, other)
        titles = [results["servers"][name]["title"] for name in (ours, other)]
        return Verdict(f"requests/s, {load}: {titles[0]} / {titles[1]}", target, found)

    def by_cpu(load: Load) -> Verdict:
        found = ratios(results, "cpu_us", load, "ours", "ours-2-workers")
        text = f"two workers by CPU time, {load}: 2 x CPU per request of one / of two"
        return Verdict(text, 1.7, [2 * ratio for ratio in found])

    workers = results["resident_mb"].get("ours", [])[1:]
    return [
        faster("fastapi-sklearn", ONE, 60),
        faster("fastapi-onnx", ONE, 2.5),
        faster("bentoml-onnx", ONE, 9),
        faster("limit", ONE, 0.7),
        faster("limit", MANY, 0.9),
        faster("fastapi-onnx", ONE, 1.2, "ours-bentoml"),
        closest_p99(results),
        Verdict("cold start", 2.5, results["cold_start_s"].get("ours", []), True, " s"),
        Verdict("resident memory of the worker", 150, workers, True, " MB"),
        faster("ours", ONE, 1.7, "ours-2-workers"),
        faster("ours", MANY, 1.7, "ours-2-workers"),
        by_cpu(ONE),
        by_cpu(MANY),
    ]


def closest_p99(results: Results) -> Verdict:
    """Return how the 99th percentile compares where a competitor comes closest to it."""
    others = [name for name, server in results["servers"].items() if server["role"] == "competitor"]
    found = {
        (name, load): ratio
        for name in others
        for load in LOADS
        if (ratio := ratios(results, "p99_ms", load, name, "ours"))
    }
    text = "p99 at every load: the closest competitor / ours"
    if not found or not all(values(results, "p99_ms", "ours", load) for load in LOADS):
        return Verdict(text, 1, [])
    (name, load), ratio = min(found.items(), key=lambda item: median(item[1]))
    above = sum(median(numbers) > 1 for numbers in found.values())
    text += f" ({results['servers'][name]['title']} at {load})"
    return Verdict(f"{text}; above 1 in {above} of {len(found)}", 1, ratio)


def verdicts_as_text(results: Results) -> str:
    """Return the targets for a terminal."""
    lines = [verdict.cells() for verdict in verdicts(results)]
    verdict_lines = [f"{met:13}{seen:24}{target:18}{text}" for text, target, seen, met in lines]
    return "\n".join([*verdict_lines, *warnings(results)])


# ---- the page -----------------------------------------------------------------------------


def render(results: Results) -> str:
    """Return results.md."""
    absent = [results["servers"][name]["title"] for name in results["absent"]]
    parts = [
        "# Results",
        "Written by `make bench`; README.md says how it measures. Rounds: "
        f"{results['rounds']}, each slice {results['seconds']} s.",
        *warnings(results),
        "![Requests per second and 99th percentile of each server](results.svg)",
        "## Targets",
        "Ratios are taken within each round; given are their median and their range.",
        table(("", "target", "measured", ""), (v.cells() for v in verdicts(results))),
        "## Requests per second",
        "Medians over the rounds; ± is half of their range.",
        by_load(results, "requests_per_second"),
        "## Median latency, ms",
        by_load(results, "p50_ms"),
        "## 99th percentile of latency, ms",
        by_load(results, "p99_ms"),
        "## CPU time per request, µs",
        "Of all processes of the server.",
        by_load(results, "cpu_us"),
        "## Arrow and JSON",
        "The generated service, answers in the format of the requests; bytes of a request.",
        table(
            ("", "bytes", "rows per second", "p50, ms", "p99, ms", "CPU time per row, µs"),
            (tables(results, load) for load in sorted(TABLES)),
        ),
        "## Start and memory",
        "Resident memory after the last slice, of the process that was started and of its "
        "descendants; shared pages count in each.",
        table(("", "first prediction after, s", "processes, MB", "sum, MB"), resources(results)),
        "## Two workers",
        two_workers(results),
        "## Where",
        *([f"Could not be installed here: {', '.join(absent)}."] if absent else []),
        table(("", ""), results["about"].items()),
    ]
    return "\n\n".join(parts) + "\n"


def warnings(results: Results) -> Iterator[str]:
    """Yield a warning when the machine had other things to do."""
    others = sorted(one["other_cores"] for one in results["slices"])
    if others and median(others) > BUSY_CORES:
        yield (
            f"**Other processes used {median(others):.2f} cores in the median slice, "
            f"{others[-1]:.2f} at most: these numbers are not worth keeping.**"
        )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def by_load(results: Results, measure: Measure) -> str:
    """Return a table with a line for each server and a column for each load."""

    def line(server: str, title: str) -> list[str]:
        cells = [cell(slices_of(results, server, load), measure) for load in LOADS]
        return [title, *cells]

    titles = {name: server["title"] for name, server in results["servers"].items()}
    head = ["", *(str(load) for load in LOADS)]
    return table(head, [line(name, title) for name, title in titles.items()])


def cell(slices: list[Slice], measure: Measure) -> str:
    """Return the median over the rounds and half the range, or why there is none."""
    if reason := problem(slices):
        return reason
    numbers = [one[measure] for one in slices]
    middle = median(numbers)
    if len(numbers) == 1:
        return short(middle)
    return f"{short(middle)} ±{(max(numbers) - min(numbers)) / 2 / middle:.0%}"


def tables(results: Results, load: Load) -> list[str]:
    """Return the line of one load of many rows: bytes, rows per second, latency, CPU per row."""
    slices = slices_of(results, "ours", load)
    if reason := problem(slices):
        return [str(load), *[reason] * 5]
    per_row = [
        median(one["requests_per_second"] for one in slices) * load.rows,
        *(median(one[measure] for one in slices) for measure in ("p50_ms", "p99_ms")),
        median(one["cpu_us"] for one in slices) / load.rows,
    ]
    size = f"{slices[0]['request_bytes']:,}"
    return [str(load), size, *map(short, per_row)]


def resources(results: Results) -> Iterator[list[str]]:
    """Yield a line for each server that ran."""
    for name, seconds in results["cold_start_s"].items():
        sizes = results["resident_mb"][name]
        title = results["servers"][name]["title"]
        each = ", ".join(f"{size:.0f}" for size in sizes)
        yield [title, short(median(seconds)), each, f"{sum(sizes):.0f}"]


def two_workers(results: Results) -> str:
    """Return what must be known to read the ratio of two workers to one."""
    cores = [values(results, "generator_cores", "ours-2-workers", load) for load in (ONE, MANY)]
    used = [short(median(numbers)) if numbers else "?" for numbers in cores]
    return (
        "On a machine with two cores, two workers share them with the load generator, which took "
        f"{used[0]} of a core at {ONE} and {used[1]} at {MANY}. So two ratios are given above for "
        "each load: that of the throughput, and that which the CPU time per request would give if "
        "each worker had a core of its own. Two workers that share 64 clients have smaller batches "
        "than one, and so need more CPU time for a request of one row."
    )


def short(number: float) -> str:
    """Return a number with three digits that count."""
    digits = 0 if number >= 100 else 1 if number >= 10 else 2
    return f"{number:,.{digits}f}"


def main() -> None:
    """Write the page anew."""
    folder = Path(sys.argv[1])
    results: Results = json.loads((folder / "results.json").read_text())
    (folder / "results.md").write_text(render(results))
    print(verdicts_as_text(results))


if __name__ == "__main__":
    main()
