"""What `make train` makes before it decides."""

from dataclasses import dataclass
from typing import Any

from .evaluation import Evaluation
from .gates import Gate


@dataclass(frozen=True)
class Candidate:
    """A model that was fitted and measured, and is not registered yet."""

    graph: bytes
    evaluation: Evaluation
    gates: list[Gate]
    facts: dict[str, Any]
    """The fields of its manifest."""

    @property
    def failed(self) -> list[Gate]:
        """The gates that it does not meet."""
        return [gate for gate in self.gates if gate.passed is False]
