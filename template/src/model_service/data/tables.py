"""What a raw table is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

Type = type[str] | type[int] | type[float] | type[bool] | type[datetime]


@dataclass(frozen=True)
class RawTable:
    """A table of another system, of which rows arrive again, late and damaged.

    Attributes:
        name: Unique name.
        address: Where rows come from; see `sources.read`. MODEL_SERVICE_SOURCES may name another.
        columns: What each value must be readable as; other columns are not kept.
        key: Columns that name a row, none of them missing. A row that comes again replaces the
            one with its key.
        personal: Columns whose values are in no log and no report; see docs/data.md.
        time: The column that says when a row is about, in UTC; None where rows hold at any time.
    """

    name: str
    address: str
    columns: Mapping[str, Type]
    key: tuple[str, ...]
    time: str | None = None
    personal: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Check that key, time and personal columns are declared.

        Raises:
            ValueError: one is not.
        """
        named = {*self.key, *self.personal, *([self.time] if self.time else [])}
        if missing := sorted(named - self.columns.keys()):
            raise ValueError(f"{self.name}: declare the columns {', '.join(missing)}")
        if self.time and self.columns[self.time] is not datetime:
            raise ValueError(f"{self.name}: declare {self.time} as a datetime")
