"""What came of a retraining, as a file for programs: build/retraining/result.json."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, PlainSerializer

from .. import registry, storage
from .comparison import Comparison
from .gates import Gate
from .shift import Shift

Outcome = Literal["nothing_new", "promoted", "refused", "failed"]
EXIT_CODES: dict[Outcome, int] = {"nothing_new": 0, "promoted": 0, "failed": 1, "refused": 3}
"""Make says 2 for both of the last: ask the file, or run the module without make."""


def _told(gate: Gate) -> dict[str, object]:
    return {
        **{"name": gate.name, "value": gate.value},
        **{"condition": gate.condition, "passed": gate.passed},
    }


class Result(BaseModel):
    """Filled in as far as a retraining comes."""

    outcome: Outcome = "failed"
    reason: str = "it did not come to its end; run it again"
    started_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    ended_at: datetime | None = None
    who: str = Field(default_factory=registry.author)
    read: dict[str, tuple[int, int]] = {}
    """Origins of raw rows, each with how many were good and how many refused."""
    rows: int = 0
    new_rows: int = 0
    """Rows with features and label that neither champion nor challenger knew."""
    evaluated_from: date | None = None
    """The first day of the evaluation, where rows know a time."""
    evaluated_on: str = "not said"
    """Rows of the evaluation, in words."""
    champion: str | None = None
    """The one before."""
    challenger: str | None = None
    drift: list[Shift] = []
    gates: list[Annotated[Gate, PlainSerializer(_told)]] = []
    comparison: Comparison | None = None

    def end(self, outcome: Outcome, reason: str) -> None:
        """Say what came of it."""
        self.outcome, self.reason, self.ended_at = outcome, reason, datetime.now(UTC)

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        text = self.model_dump_json(indent=2) + "\n"
        storage.write(path.parent, path.name, text.encode())
