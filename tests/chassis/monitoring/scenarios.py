"""Scenarios: what counters do over some hours, and which alerts fire then, by promtool."""

from pathlib import Path
from typing import Any

import yaml

from ml_chassis import slo
from ml_chassis.monitoring import rules
from ml_chassis.monitoring.rules.rule import STEP
from prometheus import promtool

STATED = slo.read().model_copy(update={"job": "service"})
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
    every: str = "5m",
) -> None:
    """Fail unless these alerts fire at a minute, and no others.

    Args:
        folder: Takes the files.
        objectives: Of which the rules are.
        series: What is scraped.
        minute: At which is looked.
        fired: The alerts and their severities.
        alive: Whether the service is seen, too.
        every: Between two evaluations of all groups: of less than 5 minutes a test takes long.
    """
    if alive:
        series = {**series, labelled("model_service_start_time_seconds"): f"1x{minute + 1}"}
    firing = 'max by (alertname, severity) (ALERTS{alertstate="firing"})'
    labels = (f'{{alertname="{name}",severity="{severity}"}}' for name, severity in sorted(fired))
    assert_samples(folder, objectives, series, minute, firing, dict.fromkeys(labels, 1), every)


def assert_samples(
    folder: Path,
    objectives: slo.Slo,
    series: Series,
    minute: int,
    expression: str,
    expected: dict[str, float],
    every: str = STEP,
    group: str = "",
) -> None:
    """Fail unless an expression has these values at a minute, by their labels.

    Args:
        folder: Takes the files.
        objectives: Of which the rules are.
        series: What is scraped.
        minute: At which is looked.
        expression: Is asked.
        expected: Its values.
        every: Between two evaluations of all groups that have no interval of their own.
        group: The only one that is needed, without which all are that are about the series.
    """
    path = write(folder, objectives)
    needed = yaml.safe_load(path.read_text())
    needed["groups"] = [each for each in needed["groups"] if _is_needed(each, series, group)]
    path.write_text(yaml.safe_dump(needed))
    found: dict[str, Any] = {
        "rule_files": [str(path)],
        "evaluation_interval": every,
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


def _is_needed(group: dict[str, Any], series: Series, only: str) -> bool:
    """Return whether a group asks for any of the series: the others take long for nothing."""
    if only:
        return bool(group["name"] == only)
    text = str(group["rules"])
    return "alerts" in group["name"] or any(name.partition("{")[0] in text for name in series)
