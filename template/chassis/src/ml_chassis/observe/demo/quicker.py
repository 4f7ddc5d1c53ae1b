"""Rules and routes whose minutes are seconds, so that people see within minutes what takes days."""

import re
from collections.abc import Mapping
from typing import Any

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
DURATION = re.compile(r"\[(\d+)([smhd])\]")
RETRAIN = "retrain"
"""The receiver in monitoring/alertmanager.yaml that is the retrainer."""


def quicker(rules: Any, times: int) -> Any:
    """Return rules of which each duration is so many times shorter, a second at least."""
    if isinstance(rules, Mapping):
        return {name: _quicker(name, value, times) for name, value in rules.items()}
    if isinstance(rules, list):
        return [quicker(each, times) for each in rules]
    return rules


def _quicker(name: str, value: Any, times: int) -> Any:
    def shorter(number: str, unit: str) -> str:
        return f"{max(int(number) * UNITS[unit] // times, 1)}s"

    if name in {"for", "interval"}:
        return shorter(value[:-1], value[-1])
    if name == "expr":
        return DURATION.sub(lambda found: f"[{shorter(found[1], found[2])}]", value)
    return quicker(value, times)


def routes(configuration: Mapping[str, Any], told: str, retrainer: str) -> dict[str, Any]:
    """Return the configuration of Alertmanager that tells others, and at once.

    Args:
        configuration: That of the project.
        told: Address of who is told instead of each receiver, whose name is put after it.
        retrainer: Address of the retrainer.
    """
    receivers = [
        {
            "name": each["name"],
            "webhook_configs": [
                {"url": retrainer, "send_resolved": False}
                if each["name"] == RETRAIN
                else {"url": f"{told}/{each['name']}", "send_resolved": True}
            ],
        }
        for each in configuration["receivers"]
    ]
    at_once = {"group_wait": "0s", "group_interval": "1s"}
    route = {**configuration["route"], **at_once}
    return {**configuration, "route": route, "receivers": receivers}
