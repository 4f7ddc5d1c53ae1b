"""Scenarios: what counters do over some hours, and which alerts fire then, by promtool."""

from pathlib import Path
from typing import Any

import yaml

from ml_chassis import slo
from ml_chassis.monitoring import rules
from prometheus import promtool

STATED = slo.read()
PAGE, TICKET = "page", "ticket"

Series = dict[str, str]
"""The values of a series, in the notation of promtool, by its name and labels."""


def grows(*phases: tuple[float, int]) -> str:
    """Return a counter that grows by so much in each of so many minutes, and then otherwise."""
    values, reached = [], 0.0
    for each, minutes in phases:
        values.append(f"{reached:g}+{each:g}x{minutes - 1}")
        reached += each * minutes
    return " ".join(values)


def labelled(name: str, **labels: str) -> str:
    """Return the name of a series of the service."""
    given = {"job": "service", "track": "stable", **labels}
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in given.items()) + "}"


def write(folder: Path, objectives: slo.Slo) -> Path:
    """Write the rules."""
    path = folder / "rules.yaml"
    path.write_text(rules.text(objectives))
    return path


def assert_fires(
    folder: Path,
    objectives: slo.Slo,
    series: Series,
    minute: int,
    fired: set[tuple[str, str]],
    *,
    alive: bool = True,
) -> None:
    """Fail unless these alerts fire at a minute, and no others."""
    if alive:
        series = {**series, labelled("model_service_start_time_seconds"): f"1x{minute + 1}"}
    firing = 'max by (alertname, severity) (ALERTS{alertstate="firing"})'
    labels = (f'{{alertname="{name}",severity="{severity}"}}' for name, severity in sorted(fired))
    assert_samples(folder, objectives, series, minute, firing, dict.fromkeys(labels, 1))


def assert_samples(
    folder: Path,
    objectives: slo.Slo,
    series: Series,
    minute: int,
    expression: str,
    expected: dict[str, float],
) -> None:
    """Fail unless an expression has these values at a minute, by their labels."""
    found: dict[str, Any] = {
        "rule_files": [str(write(folder, objectives))],
        "evaluation_interval": "5m",  # of less the test takes long
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": name, "values": values} for name, values in series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": expression,
                        "eval_time": f"{minute}m",
                        "exp_samples": [
                            {"labels": labels, "value": value} for labels, value in expected.items()
                        ],
                    }
                ],
            }
        ],
    }
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump(found))
    promtool("test", "rules", path)
