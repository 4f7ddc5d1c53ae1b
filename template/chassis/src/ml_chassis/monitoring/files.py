"""The files of a project that follow from slo.yaml: rules and dashboards."""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from ..contract import Contract
from ..errors import UserError, why
from ..project import Project
from ..slo import SLO, Slo, SloError, read
from . import deployed, grafana, panels, rules
from .drift import PREDICTION
from .rules.rule import RUNBOOK

FOLDER = Path("monitoring")
RULES = FOLDER / "rules.yaml"
DASHBOARDS = FOLDER / "dashboards"
MANIFEST = Path("deploy/kubernetes/overlays/production/rules.yaml")
"""The same rules for the Prometheus operator, where the service runs on Kubernetes."""


def files(slo: Slo, name: str, root: Path = Path()) -> dict[Path, str]:
    """Return each file, by its path in the project.

    Args:
        slo: What slo.yaml says.
        name: Of the service, which the titles of the dashboards say.
        root: Where the project is.
    """
    on_kubernetes = (root / MANIFEST.parent).is_dir()
    dashboards = {
        DASHBOARDS / f"{each.name}.json": grafana.render(each, f"{name}: {each.name}")
        for each in panels.dashboards(slo)
    }
    manifest = {MANIFEST: rules.manifest(slo, name)} if on_kubernetes else {}
    return {RULES: rules.text(slo), **manifest, **dashboards}


def problems(project: Project) -> list[str]:
    """Return what is wrong with the files of the project in this folder, by slo.yaml.

    Those are rules and dashboards, the runbook, and what in deploy/ has the budget or the weights.
    """
    try:
        slo = _read(project.contract)
        runbook = Path(RUNBOOK).read_text(encoding="utf-8").splitlines()
    except (UserError, OSError, ValueError) as error:
        return [why(error)]
    found = [
        f"{path} is not that of {SLO}: run `make rules`"
        for path, text in files(slo, project.name).items()
        if _data(path, path.read_text(encoding="utf-8") if path.exists() else "")
        != _data(path, text)
    ]
    names = dict.fromkeys(rule["alert"] for rule in rules.rules(slo)["groups"][-1]["rules"])
    found += deployed.problems(slo)
    return found + [
        f"{RUNBOOK} has no section `## {each}`" for each in names if f"## {each}" not in runbook
    ]


def _data(path: Path, text: str) -> Any:
    """Return what a file says: formatters may write it otherwise."""
    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return None


def run(project: Project) -> int:
    """Write the files; return the exit code."""
    try:
        slo = _read(project.contract)
        written = files(slo, project.name)
        DASHBOARDS.mkdir(parents=True, exist_ok=True)
        for path, text in written.items():
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
        for each in deployed.problems(slo):
            print(f"Note: {each}")
    except (UserError, OSError) as error:
        print(f"Not all rules and dashboards were written. {why(error)}", file=sys.stderr)
        return 1
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
