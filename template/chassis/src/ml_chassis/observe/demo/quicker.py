"""Rules and routes whose minutes are seconds, so that people see within minutes what takes days."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from ...errors import UserError

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
PART = re.compile(r"(\d+)(ms|[smhdw])")
DURATION = re.compile(r"(?<=\[)\d[^][:]*(?=\])|(?<=offset )\d\w*")
ASKED = "/alerts"
"""The path of the retrainer that alerts are told to."""
AT_ONCE = {"group_wait": "0s", "group_interval": "1s"}
NOW_AND_THEN = ("active_time_intervals", "mute_time_intervals")


def quicker(rules: Any, times: int) -> Any:
    """Return rules of which each duration is so many times shorter, a second at least.

    Raises:
        UserError: a duration is written in another way than as `5m` or `1h30m`.
    """
    if isinstance(rules, Mapping):
        return {name: _quicker(name, value, times) for name, value in rules.items()}
    if isinstance(rules, list):
        return [quicker(each, times) for each in rules]
    return rules


def _quicker(name: str, value: Any, times: int) -> Any:
    if name in {"for", "interval"}:
        return _shorter(value, times)
    if name == "expr":
        return DURATION.sub(lambda found: _shorter(found[0], times), value)
    return quicker(value, times)


def _shorter(duration: str, times: int) -> str:
    parts = PART.findall(duration)
    if "".join(f"{number}{unit}" for number, unit in parts) != duration:
        raise UserError(f"The rules have a duration that is not understood: {duration}.")
    seconds = sum(int(number) * UNITS[unit] for number, unit in parts)
    return f"{max(round(seconds / times), 1)}s"


def routes(configuration: Mapping[str, Any], told: str, retrainer: str) -> dict[str, Any]:
    """Return the routes of Alertmanager, which tell others, at once and at any time.

    Args:
        configuration: That of the project.
        told: Address of who is told instead of each receiver, whose name is put after it.
        retrainer: Address of the retrainer.

    Raises:
        UserError: no receiver tells the retrainer.
    """
    receivers = [_told(each, told, retrainer) for each in configuration["receivers"]]
    if not any(map(_is_retrainer, configuration["receivers"])):
        raise UserError(
            f"monitoring/alertmanager.yaml: no receiver tells the retrainer: give one a webhook "
            f"whose url ends in {ASKED}."
        )
    kept = {name: configuration[name] for name in ("inhibit_rules",) if name in configuration}
    return {"route": _at_once(configuration["route"]), "receivers": receivers, **kept}


def _told(receiver: Mapping[str, Any], told: str, retrainer: str) -> dict[str, Any]:
    name = receiver["name"]
    if receiver.keys() == {"name"}:  # tells nobody
        return {"name": name}
    if _is_retrainer(receiver):
        return {"name": name, "webhook_configs": [{"url": retrainer, "send_resolved": False}]}
    there = {"url": f"{told}/{quote(name)}", "send_resolved": True}
    return {"name": name, "webhook_configs": [there]}


def _is_retrainer(receiver: Mapping[str, Any]) -> bool:
    urls = [each.get("url", "") for each in receiver.get("webhook_configs", ())]
    return any(urlsplit(url).path == ASKED for url in urls)


def _at_once(route: Mapping[str, Any]) -> dict[str, Any]:
    """Return a route, and those below it, that does not wait."""
    kept = {name: value for name, value in route.items() if name not in NOW_AND_THEN}
    below = {"routes": [_at_once(each) for each in route["routes"]]} if "routes" in route else {}
    return {**kept, **AT_ONCE, **below}
