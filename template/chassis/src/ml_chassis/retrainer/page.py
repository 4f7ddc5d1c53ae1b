"""What alerts began, for people and for programs."""

from collections.abc import Sequence
from typing import Any

from ..reports.page import page, paragraph, table
from .record import Retraining

HEAD = ("begun, UTC", "ended, UTC", "asked by", "outcome", "reason")


def content(why_not: str, found: Sequence[Retraining]) -> dict[str, Any]:
    """Return it for JSON.

    Args:
        why_not: Why no retraining may begin now, or "".
        found: Retrainings, the newest first.
    """
    rows = [
        {
            **each._asdict(),
            "begun_at": f"{each.begun_at:%FT%TZ}",
            "ended_at": _ended(each, "%FT%TZ"),
        }
        for each in found
    ]
    return {"ready": not why_not, "why_not": why_not, "retrainings": rows}


def render(why_not: str, found: Sequence[Retraining]) -> str:
    """Return the page; see `content`."""
    title = "Retraining: an alert begins the next one"
    if why_not:
        title = "Retraining: no alert begins one now"
    rows = [
        (
            *(f"{each.begun_at:%F %T}", _ended(each, "%F %T") or ""),
            *(each.asked_by, each.outcome.replace("_", " "), each.reason),
        )
        for each in found
    ]
    parts = [paragraph(why_not)] if why_not else []
    return page(title, not why_not, [*parts, table(HEAD, rows)])


def _ended(each: Retraining, style: str) -> str | None:
    return each.ended_at.strftime(style) if each.ended_at else None
