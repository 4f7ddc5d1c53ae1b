"""What `make bench` says follows from what it measured."""

import subprocess
import time

import pytest

from benchmarks import observed, processes, report
from benchmarks.contestants import CONTESTANTS, LOADS, TABLES, Load
from benchmarks.turns import Second

LOAD = Load(1, 64)


def results_of(**given: list[float]) -> report.Results:
    """Return results with these requests per second, by server and round, under every load."""
    speeds = {name.replace("_", "-"): numbers for name, numbers in given.items()}
    return {
        "about": {"date": "2026-01-31"},
        "rounds": 3,
        "seconds": 1,
        "servers": {name: {"title": c.title, "role": c.role} for name, c in CONTESTANTS.items()},
        "absent": ["mlserver-onnx"],
        "cold_start_s": {name: [1.0, 3.0, 2.0] for name in speeds},
        "resident_mb": {name: [20.0, 100.0] for name in speeds},
        "slices": [
            slice_of(name, load, turn, speed)
            for name, numbers in speeds.items()
            for turn, speed in enumerate(numbers)
            for load in sorted({*LOADS, *TABLES})
        ],
    }


def slice_of(server: str, load: Load, turn: int, speed: float) -> report.Slice:
    return {
        "server": server,
        "rows": load.rows,
        "clients": load.clients,
        "format": load.format,
        "round": turn,
        "requests": int(speed),
        "requests_per_second": speed,
        "p50_ms": 500 / speed,
        "p99_ms": 1000 / speed,
        "errors": 0,
        "cpu_us": 1e6 / speed,
        "request_bytes": 20_000 if load.format == "Arrow" else 50_000,
        "generator_cores": 0.25,
        "other_cores": 0.0,
    }


def verdict(results: report.Results, *words: str) -> tuple[str, str, str, str]:
    """Return what is said of the target whose text has these words."""
    every = [found.cells() for found in report.verdicts(results)]
    (found,) = [cells for cells in every if all(word in cells[0] for word in words)]
    return found


def test_ratios_are_taken_within_a_round() -> None:
    # The machine was slower from round to round; the ratio of the medians would be 2.
    results = results_of(ours=[900, 200, 150], fastapi_onnx=[300, 100, 50])
    assert report.ratios(results, "requests_per_second", LOAD, "ours", "fastapi-onnx") == [3, 2, 3]
    measured = verdict(results, "/ FastAPI + ONNX Runtime", "1 row,", "generated service /")
    assert measured[1:] == ("at least 2.5", "3.00 (2.00 to 3.00)", "met")


@pytest.mark.parametrize(("speed", "said"), [(100, "met"), (50, "NOT MET")])
def test_a_target_is_met_or_not(speed: float, said: str) -> None:
    results = results_of(ours=[speed] * 3, limit=[100] * 3)
    assert verdict(results, "100 rows", "/ limit")[3] == said


def test_lower_is_better_for_start_and_memory() -> None:
    results = results_of(ours=[100] * 3)
    assert verdict(results, "cold start")[2:] == ("2.00 s (1.00 to 3.00)", "met")
    assert verdict(results, "resident")[2:] == ("100 MB", "met")
    results["resident_mb"]["ours"] = [160, 149]
    assert verdict(results, "resident")[2:] == ("149 MB", "met")
    results["resident_mb"]["ours"] = [20, 151]
    assert verdict(results, "resident")[2:] == ("151 MB", "NOT MET")


def test_the_slowest_percent_is_compared_with_the_closest_competitor() -> None:
    results = results_of(ours=[100] * 3, fastapi_onnx=[50] * 3, litserve_onnx=[80] * 3)
    for one in results["slices"]:
        if one["server"] == "fastapi-onnx" and one["rows"] == 100 and one["clients"] == 16:
            one["p99_ms"] = 5  # half of ours
    found = verdict(results, "p99")
    assert "FastAPI + ONNX Runtime at 100 rows, 16 clients); above 1 in 11 of 12" in found[0]
    assert found[2:] == ("0.50 (0.50 to 0.50)", "NOT MET")


def test_one_error_makes_the_load_of_that_server_invalid() -> None:
    results = results_of(ours=[900, 200, 150], fastapi_onnx=[300, 100, 50])
    spoilt = report.slices_of(results, "fastapi-onnx", LOAD)
    spoilt[1]["errors"] = 1
    assert report.cell(spoilt, "p99_ms") == "INVALID: 1 error"
    assert verdict(results, "/ FastAPI + ONNX Runtime", "1 row,", "generated service /")[2:] == (
        "-",
        "NOT MEASURED",
    )
    # Requests per second, both latencies and CPU time; the other loads are shown.
    assert report.render(results).count("| INVALID: 1 error |") == 4


def test_a_slice_without_an_answer_is_invalid() -> None:
    results = results_of(ours=[900, 200, 150])
    results["slices"][0]["requests"] = 0
    assert (
        report.cell(report.slices_of(results, "ours", LOADS[0]), "p50_ms") == "INVALID: no answer"
    )


def test_a_cell_is_the_median_with_half_the_range() -> None:
    slices = report.slices_of(results_of(ours=[900, 1000, 1200]), "ours", LOAD)
    assert report.cell(slices, "requests_per_second") == "1,000 ±15%"
    assert report.cell(slices[:1], "requests_per_second") == "900"


def test_what_was_not_measured_is_shown() -> None:
    page = report.render(results_of(ours=[100] * 3))
    assert "Could not be installed here: MLServer + ONNX Runtime." in page
    assert f"| MLServer + ONNX Runtime |{' not measured |' * len(LOADS)}" in page


def test_tables_are_compared_by_row() -> None:
    line = report.tables(results_of(ours=[1000, 500, 100]), Load(100, 16, "Arrow"))
    assert line == ["100 rows, 16 clients, Arrow", "20,000", "50,000", "1.00", "2.00", "20.0"]


def test_a_busy_machine_is_told() -> None:
    results = results_of(ours=[100] * 3)
    assert list(report.warnings(results)) == []
    for one in results["slices"]:
        one["other_cores"] = 0.5
    assert "not worth keeping" in report.render(results)
    assert "not worth keeping" in report.verdicts_as_text(results)


def test_stopping_a_server_ends_what_it_has_started() -> None:
    script = "sleep 30 & wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as process:
        while len(processes.resident_bytes(process.pid)) < 2:
            time.sleep(0.01)
        begin = time.monotonic()
        processes.stop(process)
        assert process.stdout
        assert process.stdout.read() == b""  # it ends when nobody holds the other side
        assert time.monotonic() - begin < 10


def test_what_observing_costs_is_the_share_of_the_requests_that_is_lost() -> None:
    seconds = [Second(1_000, 1.0, 980, 1.0), Second(2_000, 2.0, 940, 1.0)] * 50

    assert observed.cost(seconds) == pytest.approx(0.04)
    name, speed, cost, interval = observed.row("logs", seconds).strip("| ").split(" | ")
    assert (name, speed, cost) == ("logs", "1,000", "4.0%")
    low, high = (float(each.rstrip("%")) for each in interval.split(" to "))
    assert 3.4 < low < 4 < high < 4.6
