"""The gates of training.toml: whether a model may be registered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .config import BOUNDS, Limit


@dataclass(frozen=True)
class Gate:
    """One condition, and whether the model meets it; None where it does not apply."""

    name: str
    value: float | None
    limit: Limit

    @property
    def passed(self) -> bool | None:
        """Whether the model meets it; a value that is not a number never does."""
        if self.value is None:
            return None
        if self.limit.minimum is not None:
            return self.value >= self.limit.minimum
        return self.limit.maximum is not None and self.value <= self.limit.maximum

    @property
    def condition(self) -> str:
        """What is asked, and of which end of an interval."""
        bound = f"{BOUNDS[self.name]} confidence bound " if self.name in BOUNDS else ""
        if self.limit.minimum is not None:
            return f"{bound}at least {self.limit.minimum:g}"
        return f"{bound}at most {self.limit.maximum:g}"

    def __str__(self) -> str:
        """Return it as a line for a terminal."""
        if self.value is None:
            return f"-    {self.name}: does not apply"
        mark = "ok  " if self.passed else "FAIL"
        return f"{mark} {self.name}: {self.value:.4g} ({self.condition})"


def judge(measures: Mapping[str, float], limits: Mapping[Any, Limit]) -> list[Gate]:
    """Return every gate.

    Args:
        measures: What was measured; a gate whose measure is absent does not apply, such as the gain
            over the champion where there is none.
        limits: The gates of training.toml.
    """
    return [Gate(name, measures.get(name), limit) for name, limit in limits.items()]
