"""Prometheus rules from slo.yaml: what is recorded of the service, and who is told when."""

import sys
from pathlib import Path
from typing import Any

import yaml

from ...contract import Contract
from ...errors import UserError, why
from ...project import Project
from ...slo import SLO, Slo, SloError, read
from ..drift import PREDICTION
from . import burn, drift
from .rule import RUNBOOK

PATH = Path("monitoring/rules.yaml")
NOTE = "# Written by `make rules` from slo.yaml. Edit that, or add rules in a file of your own.\n"


def rules(slo: Slo) -> dict[str, Any]:
    """Return the rules, as Prometheus reads them."""
    alerts = [*burn.alerts(slo), *drift.alerts(slo)]
    if slo.owner:
        for each in alerts:
            each["labels"]["owner"] = _Quoted(slo.owner)
    return {
        "groups": [
            {"name": "model_service_indicators", "rules": [*burn.recorded(slo)]},
            {
                "name": "model_service_drift",
                "interval": drift.STEP,
                "rules": [*drift.recorded(slo)],
            },
            {"name": "model_service_alerts", "rules": alerts},
        ]
    }


def text(slo: Slo) -> str:
    """Return the file of the rules."""
    return NOTE + yaml.dump(rules(slo), Dumper=_Dumper, sort_keys=False, width=1_000)


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


def problems(project: Project) -> list[str]:
    """Return what is wrong with the rules of the project in this folder, and with its runbook."""
    try:
        wanted = rules(_read(project.contract))
        written = yaml.safe_load(PATH.read_text(encoding="utf-8"))
        runbook = Path(RUNBOOK).read_text(encoding="utf-8").splitlines()
    except (UserError, OSError, ValueError, yaml.YAMLError) as error:
        return [why(error)]
    found = [] if written == wanted else [f"{PATH} is not that of slo.yaml: run `make rules`"]
    names = dict.fromkeys(rule["alert"] for rule in wanted["groups"][-1]["rules"])
    return found + [
        f"{RUNBOOK} has no section `## {each}`" for each in names if f"## {each}" not in runbook
    ]


def run(project: Project) -> int:
    """Write the rules; return the exit code."""
    try:
        written = text(_read(project.contract))
        PATH.parent.mkdir(exist_ok=True)
        PATH.write_text(written, encoding="utf-8")
    except (UserError, OSError) as error:
        print(f"No rules were written. {why(error)}", file=sys.stderr)
        return 1
    print(f"wrote {PATH}")
    return 0


def _read(contract: Contract) -> Slo:
    """Read slo.yaml.

    Raises:
        SloError: it is wrong, or names a feature that there is not.
    """
    slo, known = read(), [column.name for column in contract.features]
    for name in slo.drift.expected:
        if name not in (*known, PREDICTION):
            raise SloError(
                f"{SLO}: drift.expected: there is no feature {name!r}; give {PREDICTION}, "
                f"or some of {', '.join(known)}."
            )
    return slo
