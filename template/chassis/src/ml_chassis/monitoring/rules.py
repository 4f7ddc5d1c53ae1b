"""Prometheus rules from slo.yaml: what is recorded of each objective, and alerts on its budget.

The alerts are multi-window, multi-burn-rate (Beyer et al., The Site Reliability Workbook, 2018,
chapter 5). A burn rate of 1 uses up the error budget of 30 days in 30 days. The long window says
that it matters, the short one that it still goes on, so that an alert ends soon after its cause.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from prometheus_client.utils import floatToGoString

from ..errors import UserError, why
from ..slo import Slo, read, seconds
from . import metrics

PATH = Path("monitoring/rules.yaml")
NOTE = "# Written by `make rules` from slo.yaml. Edit that, or add rules in a file of your own.\n"
RUNBOOK = "docs/runbook.md"
LEAST_BAD = 10
"""Bad events in the long window below which nobody is told: of few requests no share is known."""


class Burn(NamedTuple):
    """How fast a budget burns for an alert."""

    severity: str
    rate: float
    long: str
    short: str


BURNS = (
    Burn("page", 14.4, "1h", "5m"),
    Burn("page", 6, "6h", "30m"),
    Burn("ticket", 3, "1d", "2h"),
    Burn("ticket", 1, "3d", "6h"),
)
WINDOWS = {
    **{"5m": 300, "30m": 1_800, "1h": 3_600, "2h": 7_200, "6h": 21_600},
    **{"1d": 86_400, "3d": 259_200},
}
"""Their seconds."""
MEMORY_SHARE = 0.9
"""Of the limit, from which on somebody should look."""
BY = "by (job, track)"


class Indicator(NamedTuple):
    """A service level indicator: the share of bad events in all.

    Attributes:
        name: Of the recorded series: `model_service:NAME:ratio_rate5m`, and so on.
        alert: Name of its alerts.
        bad: The rate of bad events, as PromQL with `WINDOW`.
        total: That of all.
        budget: The share that may be bad.
        words: What happens, after a percentage.
    """

    name: str
    alert: str
    bad: str
    total: str
    budget: float
    words: str


def indicators(slo: Slo) -> Iterator[Indicator]:
    """Yield what the objectives are about."""
    failed = "|".join(["5..", *(str(status) for status in metrics.FAILURES if status < 500)])
    requests, duration = metrics.series_of(metrics.REQUESTS), metrics.DURATION
    limit = floatToGoString(seconds(slo.objectives.latency_p99_ms))
    predicted, degraded = (
        _rate(metrics.series_of(metrics.PREDICTIONS)),
        _rate(metrics.series_of(metrics.DEGRADED)),
    )
    yield Indicator(
        "request_errors:ratio",
        "ModelServiceErrors",
        _rate(f'{requests}{{status=~"{failed}"}}'),
        _rate(requests),
        slo.objectives.error_share,
        "of the requests fail",
    )
    yield Indicator(
        "slow_requests:ratio",
        "ModelServiceLatency",
        f'({_rate(f"{duration}_count")} - {_rate(f"""{duration}_bucket{{le="{limit}"}}""")})',
        _rate(f"{duration}_count"),
        0.01,
        f"of the requests take more than {slo.objectives.latency_p99_ms:g} ms",
    )
    yield Indicator(
        "degraded_predictions:ratio",
        "ModelServiceDegraded",
        degraded,
        f"({degraded} + ({predicted} or 0 * {degraded}))",
        slo.objectives.degraded_share,
        "of the predictions are the fallback's",
    )


def _rate(series: str) -> str:
    return f"sum {BY} (rate({series}[WINDOW]))"


def rules(slo: Slo) -> dict[str, Any]:
    """Return the rules, as Prometheus reads them."""
    found = list(indicators(slo))
    alerts = [*_burning(found), *_others(slo)]
    if slo.owner:
        for each in alerts:
            each["labels"]["owner"] = _Quoted(slo.owner)
    return {
        "groups": [
            {"name": "model_service_indicators", "rules": [*_recorded(found)]},
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


def problems() -> list[str]:
    """Return what is wrong with the rules of the project in this folder, and with its runbook."""
    try:
        wanted, written = rules(read()), yaml.safe_load(PATH.read_text(encoding="utf-8"))
        runbook = Path(RUNBOOK).read_text(encoding="utf-8").splitlines()
    except (UserError, OSError, ValueError, yaml.YAMLError) as error:
        return [why(error)]
    found = [] if written == wanted else [f"{PATH} is not that of slo.yaml: run `make rules`"]
    names = dict.fromkeys(rule["alert"] for rule in wanted["groups"][-1]["rules"])
    return found + [
        f"{RUNBOOK} has no section `## {each}`" for each in names if f"## {each}" not in runbook
    ]


def _recorded(found: list[Indicator]) -> Iterator[dict[str, Any]]:
    for each in found:
        for window in WINDOWS:
            ratio = f"{each.bad} / {each.total}".replace("WINDOW", window)
            yield {"record": _series(each, window), "expr": ratio}


def _series(indicator: Indicator, window: str) -> str:
    return f"model_service:{indicator.name}_rate{window}"


def _burning(found: list[Indicator]) -> Iterator[dict[str, Any]]:
    for each in found:
        for severity in ("page", "ticket"):
            burns = [burn for burn in BURNS if burn.severity == severity]
            yield _alert(
                each.alert,
                "\nor\n".join(_burns(each, burn) for burn in burns),
                severity,
                f"{{{{ $value | humanizePercentage }}}} {each.words}; "
                f"the objective allows {100 * each.budget:g}%.",
            )


def _burns(indicator: Indicator, burn: Burn) -> str:
    # Of a large budget a multiple would be more than all events, and no alert could fire.
    share = min(burn.rate * indicator.budget, (1 + indicator.budget) / 2)
    over = [f"{_series(indicator, window)} > {share:g}" for window in (burn.long, burn.short)]
    events = f"{indicator.bad} * {WINDOWS[burn.long]}".replace("WINDOW", burn.long)
    return "\nand ".join([*over, f"{events} >= {LEAST_BAD}"])


def _others(slo: Slo) -> Iterator[dict[str, Any]]:
    yield _alert(
        "ModelServiceAbsent",
        f"absent({metrics.series_of(metrics.START)})",
        "page",
        "No replica of the service is seen: whether requests are answered is not known.",
        wait="5m",
    )
    memory = slo.budget.memory_mib * 2**20
    yield _alert(
        "ModelServiceMemory",
        f"{metrics.MEMORY} > {MEMORY_SHARE} * {memory}",
        "ticket",
        "A replica uses {{ $value | humanize1024 }}B of memory; "
        f"at {slo.budget.memory_mib} MiB it is killed.",
        wait="15m",
    )


def _alert(name: str, expr: str, severity: str, summary: str, wait: str = "") -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expr,
        **({"for": wait} if wait else {}),
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "runbook": f"{RUNBOOK}#{name.lower()}"},
    }


def run() -> int:
    """Write the rules; return the exit code."""
    try:
        written = text(read())
        PATH.parent.mkdir(exist_ok=True)
        PATH.write_text(written, encoding="utf-8")
    except (UserError, OSError) as error:
        print(f"No rules were written. {why(error)}", file=sys.stderr)
        return 1
    print(f"wrote {PATH}")
    return 0
