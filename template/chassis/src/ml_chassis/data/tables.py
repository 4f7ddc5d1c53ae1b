"""What a raw table is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

Type = type[str] | type[int] | type[float] | type[bool] | type[datetime]
TYPES = (str, int, float, bool, datetime)

ORIGIN, POSITION = "row_origin", "row_position"
"""Columns that say from which file, table or page a row is, and its number there, from 1."""


@dataclass(frozen=True)
class Csv:
    """How a file of comma-separated values is written.

    Attributes:
        delimiter: What stands between two values.
        encoding: Of its text, as Python names it.
        decimal: "," in 1.234,5, "." in 1,234.5; spaces and ' may group thousands, too.
        missing: Further words that say that a value is missing, such as "?"; see `parse.MISSING`.
        time_format: Of times, as in `strptime`, such as "%d.%m.%Y"; "" is ISO 8601.
    """

    delimiter: str = ","
    encoding: str = "utf-8-sig"
    decimal: str = "."
    missing: tuple[str, ...] = ()
    time_format: str = ""

    def __post_init__(self) -> None:
        """Check what has few possible values.

        Raises:
            ValueError: the delimiter is longer than a character, or the decimal mark another one.
        """
        if len(self.delimiter) != 1 or self.decimal not in {".", ","}:
            raise ValueError("Csv: give a delimiter of one character, and . or , for decimal")


PLAIN = Csv()


@dataclass(frozen=True)
class RawTable:
    """A table of another system, of which rows arrive again, late and damaged.

    Attributes:
        name: Unique name.
        address: Where rows come from; see `sources.read`. MODEL_SERVICE_SOURCES may name another.
        columns: What each value must be readable as; other columns are not kept.
        key: Columns that name a row, none of them missing. A row that comes again replaces the
            one with its key. Without a key a row is known by ORIGIN and POSITION, and all rows of
            a file that has changed are replaced.
        personal: Columns whose values are in no log and no report; see docs/data.md of the chassis.
        time: The column that says when a row is about, in UTC, never missing; None where rows hold
            at any time.
        csv: How it is written, where it is a file of comma-separated values.
    """

    name: str
    address: str
    columns: Mapping[str, Type]
    key: tuple[str, ...] = ()
    time: str | None = None
    personal: frozenset[str] = frozenset()
    csv: Csv = PLAIN

    def __post_init__(self) -> None:
        """Check that key, time and personal columns are declared.

        Raises:
            ValueError: one is not, a name is not free, or a type is none of `Type`.
        """
        if isinstance(self.key, str):
            raise ValueError(f'{self.name}: give key as a tuple, ("{self.key}",)')
        if odd := sorted(name for name, kind in self.columns.items() if kind not in TYPES):
            kinds = ", ".join(each.__name__ for each in TYPES)
            raise ValueError(f"{self.name}: declare {', '.join(odd)} as one of {kinds}")
        if taken := sorted({ORIGIN, POSITION} & self.columns.keys()):
            raise ValueError(f"{self.name}: give {', '.join(taken)} another name")
        named = {*self.key, *self.personal, *([self.time] if self.time else [])}
        if missing := sorted(named - self.columns.keys()):
            raise ValueError(f"{self.name}: declare the columns {', '.join(missing)}")
        if self.time and self.columns[self.time] is not datetime:
            raise ValueError(f"{self.name}: declare {self.time} as a datetime")

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that tell rows apart."""
        return self.key or (ORIGIN, POSITION)

    @property
    def stored(self) -> Mapping[str, Type]:
        """The columns that are kept."""
        return self.columns if self.key else {ORIGIN: str, POSITION: int, **self.columns}
