"""What a raw table is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

Type = type[str] | type[int] | type[float] | type[bool] | type[datetime]
TYPES = (str, int, float, bool, datetime)

Epoch = Literal["s", "ms", "us", "ns"]
MISSING_WORDS = ("na", "n/a", "nan", "null", "none")
"""Words of CSV that say that a value is missing, in any case, unless a table says others."""

ORIGIN, POSITION = "row_origin", "row_position"
"""Columns that say from which file, table or page a row is, and its number there, from 1."""


@dataclass(frozen=True)
class Csv:
    """How a file of comma-separated values is written.

    Attributes:
        delimiter: What stands between two values.
        encoding: Of its text, as Python names it.
        decimal: "," in 1.234,5, "." in 1,234.5; spaces and ' may group thousands, too.
        time_format: Of times, as in `strptime`, such as "%d.%m.%Y"; "" is ISO 8601.
    """

    delimiter: str = ","
    encoding: str = "utf-8-sig"
    decimal: str = "."
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
        missing: Words that say that a value is missing, such as (*MISSING_WORDS, "?"), in upper or
            lower case; () where NA is a value. None: MISSING_WORDS in CSV, no words elsewhere. What
            is empty in CSV is missing always.
        epoch: The unit of times that are numbers, since 1970 in UTC; None refuses such times.
    """

    name: str
    address: str
    columns: Mapping[str, Type]
    key: tuple[str, ...] = ()
    time: str | None = None
    personal: frozenset[str] = frozenset()
    csv: Csv = PLAIN
    missing: tuple[str, ...] | None = None
    epoch: Epoch | None = None

    def __post_init__(self) -> None:
        """Check that key, time and personal columns are declared.

        Raises:
            ValueError: one is not, a name is not free, or a type is none of `Type`.
        """
        for field in ("key", "missing"):
            if isinstance(given := getattr(self, field), str):
                raise ValueError(f'{self.name}: give {field} as a tuple, ("{given}",)')
        if self.epoch not in {None, *get_args(Epoch)}:
            raise ValueError(f"{self.name}: give epoch as one of {', '.join(get_args(Epoch))}")
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
