"""What the values of a column are, and whether they make a feature."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl

from ..data.parse import FALSE, TRUE, to_types
from ..data.tables import Csv, Type
from .dialect import time_format_of
from .names import words
from .plan import Feature, Reason

READABLE = 0.98
"""Share of a column's values that must be of a type; rows with the others are quarantined."""
MAX_CHOICES = 20
MIN_OF_CHOICE = 5
"""Rows with each value of a text whose values are all known."""
MAX_CATEGORIES = 200
MAX_DIFFERENT = 0.3
"""Share of the rows that may hold different texts, where they are more than choices."""
MIN_KNOWN = 8
"""Rows in which a feature must not be missing."""
LENGTHS = (10, 20, 50, 100, 200, 500, 1_000, 10_000)
IDENTIFIERS = {"id", "uuid", "guid", "key", "nr", "no", "number", "nummer", "index", "idx", "rowid"}
PERSONAL = {
    *("email", "mail", "phone", "telephone", "telefon", "mobile", "iban", "ssn", "passport"),
    *("surname", "firstname", "lastname", "vorname", "nachname", "address", "birthdate"),
}
PERSONAL_NAMES = {
    *("name", "first_name", "last_name", "full_name", "customer_name"),
    *("patient_name", "date_of_birth"),
}
EMAIL = r"^[^@\s]+@[^@\s]+\.[a-zA-Z]+$"
WITH_UNIT = r"^[^\d\s]{0,3}\s*[+-]?\d[\d.,]*\s*[^\d\s]{1,5}$|^[^\d\s+.,-]{1,3}\s*[+-]?\d[\d.,]*$"
CODE = r"^0\d+$"


@dataclass(frozen=True)
class Column:
    """A column of the file.

    Attributes:
        name: In the header.
        type: What its values are.
        values: In that type; null is missing, or cannot be read.
        unreadable: How many values cannot be read.
    """

    name: str
    type: Type
    values: pl.Series
    unreadable: int = 0

    @property
    def known(self) -> pl.Series:
        """Return the values that are there."""
        return self.values.drop_nulls()

    @property
    def different(self) -> int:
        """Return how many different values there are."""
        return self.known.n_unique()


def read(frame: pl.DataFrame, csv: Csv) -> dict[str, Column]:
    """Return the columns of a table of text, in the types that fit."""
    numbers = to_types(frame, dict.fromkeys(frame.columns, float), csv=csv)
    return {text.name: _typed(text, numbers[text.name], csv) for text in frame}


def _typed(text: pl.Series, numbers: pl.Series, csv: Csv) -> Column:
    known = text.drop_nulls()
    finite = numbers.drop_nulls().is_finite().sum()
    coded = known.str.contains(CODE).any()
    if len(known) and finite >= READABLE * len(known) and not coded:
        whole = not known.str.contains(f"[{csv.decimal}eE]").any()
        return _as(text, int if whole else float, csv)
    found = set(known.str.to_lowercase().unique().head(20).to_list())
    if found & set(TRUE) and found & set(FALSE) and found <= {*TRUE, *FALSE}:
        return _as(text, bool, csv)
    first = known.head(100)
    if len(first) and time_format_of(first) is not None and time_format_of(known) is not None:
        return Column(text.name, datetime, text)
    return Column(text.name, str, text)


def _as(text: pl.Series, kind: Type, csv: Csv) -> Column:
    values = to_types(text.to_frame(), {text.name: kind}, csv=csv)[text.name]
    if kind is float:
        values = pl.select(pl.when(values.is_finite()).then(values).alias(text.name)).to_series()
    return Column(text.name, kind, values, values.null_count() - text.null_count())


def key_of(columns: Mapping[str, Column]) -> tuple[str, ...]:
    """Return the column that names a row: named so, complete, and with no value twice."""
    for position, column in enumerate(columns.values(), start=1):
        named = bool(IDENTIFIERS & set(words(column.name)))
        unnamed = column.name == f"column_{position}" and _counts_rows(column)
        if column.type in {int, str} and (named or unnamed) and _unique(column):
            return (column.name,)
    return ()


def _unique(column: Column) -> bool:
    return column.different == len(column.values)


def _counts_rows(column: Column) -> bool:
    return (
        column.type is int
        and _unique(column)
        and bool((column.values.diff().drop_nulls() == 1).all())
    )


def refusal(column: Column, first: bool) -> tuple[Reason, str] | None:
    """Return why a column makes no feature, or None where it does.

    Args:
        column: The column.
        first: Whether it is the first of the table, where numbers of rows stand.
    """
    known, different = column.known, column.different
    if len(known) < MIN_KNOWN:
        return "empty", f"{len(known)} of {len(column.values):,} rows have a value"
    if different == 1:
        return "constant", f"always {_shown(known[0])}"
    if column.type is datetime:
        return "time", "a time: what matters of it, such as the month, is built in features.py"
    if _personal(column):
        return "personal", "may say who a person is"
    last = words(column.name)[-1]
    if last in IDENTIFIERS and column.type in {int, str} and different > max(50, len(known) / 10):
        return "identifier", f"{different:,} different values in {len(known):,} rows"
    if first and _counts_rows(column):
        return "identifier", "counts the rows"
    return _too_many(column) if column.type is str else None


def _personal(column: Column) -> bool:
    name = words(column.name)
    if PERSONAL & set(name):
        return True
    if column.type is not str or column.different <= MAX_CHOICES:
        return False
    return (
        "_".join(name) in PERSONAL_NAMES
        or column.known.str.contains(EMAIL).sum() > len(column.known) / 2
    )


def _too_many(column: Column) -> tuple[Reason, str] | None:
    known, different = column.known, column.different
    if different == len(known):
        return "identifier", "a different text in each row"
    limit = max(MAX_CHOICES, min(MAX_CATEGORIES, MAX_DIFFERENT * len(known)))
    if different <= limit:
        return None
    count = f"{different:,} different texts in {len(known):,} rows"
    if known.str.contains(WITH_UNIT).mean() >= READABLE:  # type: ignore[operator]
        return "text", f"{count}, such as {_shown(known[0])}: numbers, if the unit is taken off"
    return "text", count


def _shown(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 30 else f"{text[:27]}...") if isinstance(value, str) else text


def duplicates(columns: Mapping[str, Column]) -> dict[str, str]:
    """Return the columns that equal an earlier one, and which."""
    seen: dict[object, list[Column]] = {}
    found: dict[str, str] = {}
    for column in columns.values():
        mark = (column.type, column.values.null_count(), int(column.values.hash().sum()))
        twin = next(
            (each for each in seen.get(mark, []) if each.values.equals(column.values)), None
        )
        if twin and len(column.known):
            found[column.name] = twin.name
        else:
            seen.setdefault(mark, []).append(column)
    return found


def feature(column: Column, name: str, row: int) -> Feature:
    """Return the feature that a column makes.

    Args:
        column: The column.
        name: Its identifier.
        row: Which row is the example, if its value is known.
    """
    known = column.known
    example = column.values[row] if column.values[row] is not None else known[0]
    made = Feature(
        name=name,
        column=column.name,
        type=column.type,
        nullable=column.values.null_count() > column.unreadable,
        minimum=None,
        maximum=None,
        choices=None,
        max_length=None,
        example=example,
        personal=_personal(column),
    )
    if column.type in {int, float}:
        low, high = bounds(float(known.min()), float(known.max()))  # type: ignore[arg-type]
        return replace(made, minimum=low, maximum=high)
    if column.type is bool:
        return made
    if not made.personal and (choices := _choices(known)):
        return replace(made, choices=choices)
    longest = int(known.str.len_chars().max())  # type: ignore[arg-type]
    length = next((each for each in LENGTHS if each >= 1.5 * longest), 2 * longest)
    return replace(made, max_length=length, example="example" if made.personal else example)


def _choices(known: pl.Series) -> tuple[str, ...] | None:
    counts = known.value_counts()
    if len(counts) > MAX_CHOICES or counts["count"].min() < MIN_OF_CHOICE:  # type: ignore[operator]
        return None
    return tuple(sorted(counts[known.name].to_list()))


def bounds(low: float, high: float) -> tuple[float, float]:
    """Return bounds that are wide and round, within which tomorrow's values lie, too.

    What has no negative values gets none; 0 and 1 stay as they are.
    """
    if (low, high) == (0, 1):
        return low, high
    span = max(high - low, abs(high) / 2, 1e-6)
    return (0 if low >= 0 else -_round(span - low)), _round(high + span)


def _round(number: float) -> float:
    """Return the next of ..., 1, 2, 5, 10, 20, 50, ... that is no less, with its sign."""
    if number <= 0:
        return 0
    unit = 10.0 ** math.floor(math.log10(number))
    step = next(each for each in (1, 2, 5, 10) if each * unit >= number * (1 - 1e-9))
    return float(f"{step * unit:.6g}")
