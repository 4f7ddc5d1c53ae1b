"""One rule of Prometheus: a recorded series, or an alert."""

from typing import Any, Literal, get_args

RUNBOOK = "docs/runbook.md"

Rule = dict[str, Any]
Severity = Literal["page", "ticket"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


def record(name: str, expr: str) -> Rule:
    """Return a recording rule."""
    return {"record": name, "expr": expr}


def alert(name: str, expr: str, severity: Severity, summary: str, wait: str = "") -> Rule:
    """Return an alert, whose page in the runbook is called like it.

    Args:
        name: Of the alert.
        expr: Has a sample for each thing of which is told.
        severity: Whether somebody is woken, or it is the work of the next day.
        summary: What is told, as a template of Prometheus.
        wait: How long it must last before.
    """
    return {
        "alert": name,
        "expr": expr,
        **({"for": wait} if wait else {}),
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "runbook": f"{RUNBOOK}#{name.lower()}"},
    }
