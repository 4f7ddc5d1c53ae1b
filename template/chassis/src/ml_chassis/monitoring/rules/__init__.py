"""Prometheus rules from slo.yaml: what is recorded of the service, and who is told when."""

import json
import re
import sys
from typing import Any

import yaml

from ...slo import Slo
from . import burn, drift, model, quality, release
from .rule import STEP

SERIES = re.compile(r"\b(model_service(?:_\w+|:[\w:]+))(?:\{([^}]*)\})?")
NOTE = "# Written by `make rules` from slo.yaml. Edit that, or add rules in a file of your own.\n"


def rules(slo: Slo) -> dict[str, Any]:
    """Return the rules, as Prometheus reads them."""
    alerts = [each for part in (burn, drift, quality, model) for each in part.alerts(slo)]
    if slo.owner:
        for each in alerts:
            each["labels"]["owner"] = _Quoted(slo.owner)
    found: dict[str, Any] = {
        "groups": [
            {"name": "model_service_indicators", "rules": [*burn.recorded(slo)]},
            {
                "name": "model_service_drift",
                "interval": STEP,
                "rules": [*drift.recorded(slo)],
            },
            {
                "name": "model_service_quality",
                "interval": STEP,
                "rules": [*quality.recorded(slo)],
            },
            {
                "name": release.GROUP,
                "interval": release.INTERVAL,
                "rules": [*release.recorded(slo)],
            },
            {"name": "model_service_alerts", "rules": alerts},
        ]
    }
    if slo.job:
        for group in found["groups"]:
            for rule in group["rules"]:
                rule["expr"] = _of_job(rule["expr"], slo.job)
    return found


def _of_job(expr: str, job: str) -> str:
    """Return an expression that asks of one service alone."""
    matcher = f"job={json.dumps(job)}"
    return SERIES.sub(
        lambda found: f"{found[1]}{{{matcher}{',' if found[2] else ''}{found[2] or ''}}}", expr
    )


def text(slo: Slo) -> str:
    """Return the file of the rules."""
    return _dump(rules(slo))


def manifest(slo: Slo, name: str) -> str:
    """Return the same rules as an object of Kubernetes, for the Prometheus operator.

    Args:
        slo: What slo.yaml says.
        name: Of the object.
    """
    return _dump(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": _Quoted(name)},
            "spec": rules(slo),
        }
    )


def _dump(data: dict[str, Any]) -> str:
    # No line is folded: where, would depend on the length of the names in it.
    return NOTE + yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=sys.maxsize)


class _Quoted(str):
    """Text of somebody else, which may look like another type of YAML."""


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as such."""


def _several_lines(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _in_quotes(dumper: _Dumper, text: _Quoted) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'")


_Dumper.add_representer(str, _several_lines)
_Dumper.add_representer(_Quoted, _in_quotes)
