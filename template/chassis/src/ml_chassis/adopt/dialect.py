"""How a file of comma-separated values is written, found by trying."""

import codecs
import csv
import io
from datetime import datetime
from itertools import pairwise

import polars as pl

from . import AdoptError

DELIMITERS = ("\t", ";", "|", ",")
"""Those that are rarer within values come first: they win where two fit."""
SAMPLE_CHARACTERS = 200_000
SAMPLE_VALUES = 2_000
OTHER_FILES = {
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a spreadsheet or another archive",
    b"\xd0\xcf\x11\xe0": "a spreadsheet of Excel",
    b"\x1f\x8b": "a compressed file",
    b"SQLite format 3": "a database",
    b"{": "JSON",
    b"[": "JSON",
    b"<": "HTML or XML",
}
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
ALWAYS_MISSING = (
    "?",
    "#n/a",
    "#na",
    "<na>",
    "\\n",
    "n.a.",
    "#value!",
    "#ref!",
    "#div/0!",
    "#null!",
)
"""Words that are never a value."""
AMONG_NUMBERS = (
    *("-", "--", "---", ".", "..", "*", "x", "unknown", "missing", "nil", "nd", "n.d."),
    *("unbekannt", "k.a.", "keine angabe", "inconnu", "desconocido"),
)
"""Words that say so in columns of numbers; elsewhere they may be categories."""
CODES = ("-9", "-99", "-999", "-9999", "-99999", "9999", "99999", "999999")
"""Numbers that say so where they lie far from the others."""
TIME_FORMATS = (
    *(f"{day}{time}" for day in ("%d.%m.%Y", "%d.%m.%y") for time in ("", " %H:%M", " %H:%M:%S")),
    *(
        f"{day}{time}"
        for day in ("%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y", "%m/%d/%y")
        for time in ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
    ),
    *("%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%B %d, %Y", "%d %B %Y"),
    *("%Y-%m", "%Y/%m", "%m/%Y", "%m.%Y", "%Y"),
)
NUMBER = r"^[+-]?\d+"
DECIMAL_COMMA = r"^[+-]?(?:\d+,(?:\d{1,2}|\d{4,})|\d{1,3}(?:\.\d{3})+,\d+|0,\d+)$"
DECIMAL_POINT = r"^[+-]?(?:\d+\.(?:\d{1,2}|\d{4,})|\d{1,3}(?:,\d{3})+\.\d+|0?\.\d+)$"
GROUP_OR_FRACTION = r"^[+-]?[1-9]\d{0,2},\d{3}$"


def encoding_of(content: bytes) -> str:
    """Return the encoding of a file's text, as Python names it.

    Raises:
        AdoptError: it is empty, or not the text of a table.
    """
    if not content.strip(codecs.BOM_UTF8 + b" \t\r\n\0"):
        raise AdoptError("The file is empty.")
    for start, what in OTHER_FILES.items():
        if content.removeprefix(codecs.BOM_UTF8).lstrip().startswith(start):
            raise AdoptError(f"The file is {what}: save the table as CSV, in UTF-8, and give that.")
    if content.startswith(UTF_16):
        return "utf-16"
    if b"\0" in content[:1000]:
        return "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    for encoding in ("utf-8-sig", "cp1252"):
        if _reads(content, encoding):
            return encoding
    return "latin-1"


def _reads(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def delimiter_of(text: str) -> str:
    """Return what stands between values: what splits most rows into as many as the header.

    Raises:
        AdoptError: nothing does.
    """
    scores = {delimiter: _fit(text, delimiter) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: scores[delimiter])
    share, width = scores[best]
    if width < 2:
        raise AdoptError(
            "The file has one column: put commas, semicolons, tabs or | between values."
        )
    if share < 0.5:
        raise AdoptError(
            "Most rows do not have as many values as the first line has names: "
            "begin the file with one line of names, and quote values that hold the delimiter."
        )
    return best


def _fit(text: str, delimiter: str) -> tuple[float, int]:
    """Return the share of rows, to a tenth, that are as wide as the header, and its width."""
    sample = io.StringIO(text[:SAMPLE_CHARACTERS], newline="")
    try:
        rows = list(csv.reader(sample, delimiter=delimiter, skipinitialspace=True))
    except csv.Error:
        return 0, 0
    head, *others = [row for row in rows if any(value.strip() for value in row)] or [[]]
    if len(head) < 2:
        return 0, len(head)
    complete = others[:-1] if len(text) > SAMPLE_CHARACTERS else others
    same = sum(len(row) == len(head) for row in complete)
    return (round(same / len(complete), 1) if complete else 1), len(head)


def decimal_of(frame: pl.DataFrame, delimiter: str) -> str:
    """Return the decimal mark of a table of text: the one of which there is more evidence.

    "1,5" has a comma and "1.5" a point; "1,500" may have either, and then the delimiter decides.
    """
    sample = frame.head(SAMPLE_VALUES)
    comma, point, either = (
        sum(column.str.contains(pattern).sum() for column in sample)
        for pattern in (DECIMAL_COMMA, DECIMAL_POINT, GROUP_OR_FRACTION)
    )
    if comma == point == 0 and delimiter == ";" and either:
        return ","
    return "," if comma > point else "."


def missing_in(frame: pl.DataFrame) -> tuple[str, ...]:
    """Return the words in a table of text that say that a value is missing."""
    found: set[str] = set()
    for column in frame:
        found |= _missing_words(column)
    return tuple(sorted(found - _sensible_codes(frame, found)))


def _missing_words(column: pl.Series) -> set[str]:
    words = column.str.to_lowercase()
    candidates = words.filter(words.is_in([*ALWAYS_MISSING, *AMONG_NUMBERS, *CODES]))
    counts = dict(candidates.value_counts().rows())
    found = {word for word in ALWAYS_MISSING if word in counts}
    if counts and column.str.contains(NUMBER).sum() > column.count() / 2:
        found |= {word for word in AMONG_NUMBERS if word in counts}
        found |= {code for code in CODES if counts.get(code, 0) > 1}
    return found


def _sensible_codes(frame: pl.DataFrame, found: set[str]) -> set[str]:
    """Return the numbers among the words that are values of a column: near the others."""
    codes = found & set(CODES)
    sensible = set[str]()
    for column in frame if codes else []:
        for code in codes & set(column.unique().to_list()):
            others = column.filter(column != code).cast(pl.Float64, strict=False).drop_nulls()
            if len(others) and not _far(float(code), others):
                sensible.add(code)
    return sensible


def _far(code: float, others: pl.Series) -> bool:
    numbers = others.to_numpy()
    low, high = float(numbers.min()), float(numbers.max())
    if code < 0:
        return low >= 0 or code < low - 3 * (high - low)
    return code > high + 3 * (high - low)


def time_format_of(column: pl.Series) -> str | None:
    """Return the format in which all but few of a column's texts are times, or None.

    Of two that fit, such as day/month and month/day, it is the one in which times are in order.
    """
    values = column.drop_nulls()
    sample = values.gather_every(max(1, len(values) // SAMPLE_VALUES)).to_list()
    if not sample or _share(_times(sample, "")) >= 0.98:
        return "" if sample else None
    read = {each: times for each in TIME_FORMATS if _share(times := _times(sample, each)) >= 0.98}
    return max(read, key=lambda each: _in_order(read[each])) if read else None


def _times(values: list[str], time_format: str) -> list[datetime | None]:
    return [_time(value, time_format) for value in values]


def _time(value: str, time_format: str) -> datetime | None:
    try:
        if time_format:
            return datetime.strptime(value, time_format)
        return datetime.fromisoformat(value).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def _share(times: list[datetime | None]) -> float:
    return sum(time is not None for time in times) / len(times)


def _in_order(times: list[datetime | None]) -> float:
    known = [time for time in times if time]
    pairs = list(pairwise(known))
    rising = sum(first <= second for first, second in pairs)
    return max(rising, len(pairs) - rising)
