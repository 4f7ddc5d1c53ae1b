"""From a file to the plan of a project for it."""

import difflib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import NamedTuple

import polars as pl

from ..data import DataError
from ..data.formats import read_csv
from ..data.parse import cleared
from ..data.sources import header
from ..data.tables import MISSING_WORDS, Csv, Type
from . import AdoptError
from .columns import Column, duplicates, feature, key_of, read, refusal
from .dialect import decimal_of, delimiter_of, encoding_of, missing_in, time_format_of
from .label import label_of
from .names import identifiers
from .plan import Feature, Label, LeftOut, Plan, Reason

TASKS = ("classification", "regression")
SUSPICIOUS = 0.995
"""From this AUC or R² of a column alone on, it is thought to tell the label."""
STRONG = 0.95
"""From this AUC or R² of a column alone on, a person should look at it."""
GROUPS = {"sex", "gender", "geschlecht", "race", "ethnicity", "religion", "nationality", "age"}


@dataclass(frozen=True)
class File:
    """A file that was read.

    Attributes:
        csv: How it is written.
        missing: Words that say that a value is missing, besides MISSING_WORDS.
        usual: How many values of a column are one of those, where it has some.
        columns: In its order.
        damaged: How many rows cannot be split, or have too few or too many values.
    """

    csv: Csv
    missing: tuple[str, ...]
    usual: Mapping[str, int]
    columns: Mapping[str, Column]
    damaged: int


def look(
    data: Path,
    target: str,
    time: str | None,
    task: str | None,
    keep: frozenset[str],
    leave_out: frozenset[str],
) -> Plan:
    """Return what is to be predicted from what.

    Args:
        data: A file of comma-separated values, or with another delimiter.
        target: The column to predict.
        time: The column that says when a row is about.
        task: "classification", "regression", or None: as the values of `target` suggest.
        keep: Columns that become features even if they look as if they should not.
        leave_out: Columns that become no features.

    Raises:
        AdoptError: the file, or what is asked, cannot make a project.
    """
    if task and task not in TASKS:
        raise AdoptError(f"TASK is {task}: say classification or regression, or leave it out.")
    text = _read(data)
    _check(text.frame, target, time, keep, leave_out)
    dialect = _with_time(text.csv, text.frame, time)
    columns = read(text.frame, dialect)
    file = File(dialect, text.missing, text.usual, columns, text.damaged)
    names = identifiers(file.columns)
    column = file.columns[target]
    label = label_of(column, names[target], task)
    key = tuple(each for each in key_of(file.columns) if each not in {target, time, *keep})
    open_columns = [each for each in file.columns.values() if each.name not in {target, time, *key}]
    out = _refused(open_columns, keep, leave_out, list(file.columns))
    # scikit-learn takes long to import: what is wrong so far has been said without it.
    from .leakage import powers

    strengths = powers([each for each in open_columns if each.name not in out], column, label)
    out |= _leaks(strengths, keep, label, file.columns)
    features = _features([each for each in open_columns if each.name not in out], names, column)
    if not features:
        raise AdoptError(
            "No column is left to predict from: "
            + "; ".join(f"{name}: {each.words}" for name, each in out.items())
            + ". Name in KEEP what shall be a feature."
        )
    return Plan(
        data=data,
        csv=dialect,
        missing=file.missing,
        rows=len(column.known),
        label=label,
        features=features,
        left_out=tuple(out[each.name] for each in open_columns if each.name in out),
        key=key,
        time=time,
        notes=tuple(_notes(file, label, features, strengths, time)),
    )


class _Text(NamedTuple):
    """A file whose columns are text, null where a value is missing; see `File`."""

    frame: pl.DataFrame
    csv: Csv
    missing: tuple[str, ...]
    usual: Mapping[str, int]
    damaged: int


def _read(data: Path) -> _Text:
    try:
        content = data.read_bytes()
    except OSError as error:
        raise AdoptError(f"{data} cannot be read: {error.strerror}.") from None
    encoding = encoding_of(content)
    try:
        delimiter = delimiter_of(content.decode(encoding))
        blocks = list(read_csv(io.BytesIO(content), header, Csv(delimiter, encoding)))
    except UnicodeError as error:
        raise AdoptError(f"{data} cannot be read as {encoding}: {error}.") from None
    except DataError as error:
        raise AdoptError(f"{data}: {error}") from None
    frame = pl.concat(block.rows for block in blocks)
    if not len(frame):
        raise AdoptError(f"{data} has a first line with names of columns, but no rows.")
    given = _cleared(frame, [""])
    known = _cleared(given, MISSING_WORDS)
    usual = {each.name: each.null_count() - given[each.name].null_count() for each in known}
    missing = missing_in(known)
    frame = _cleared(known, missing)
    return _Text(
        frame=frame,
        csv=Csv(delimiter, encoding, decimal_of(frame, delimiter)),
        missing=missing,
        usual={name: count for name, count in usual.items() if count},
        damaged=sum(len(block.broken) for block in blocks),
    )


def _cleared(frame: pl.DataFrame, words: Iterable[str]) -> pl.DataFrame:
    return frame.select(cleared(name, pl.String(), words) for name in frame.columns)


def _check(
    frame: pl.DataFrame,
    target: str,
    time: str | None,
    keep: frozenset[str],
    leave_out: frozenset[str],
) -> None:
    asked = {
        "TARGET": [target],
        "TIME": [time] if time else [],
        "KEEP": keep,
        "LEAVE_OUT": leave_out,
    }
    for argument, columns in asked.items():
        for column in sorted(columns):
            if column not in frame.columns:
                raise AdoptError(_unknown(argument, column, frame.columns))
    if target == time:
        raise AdoptError(f"TARGET and TIME are both {target!r}: they must be two columns.")
    if both := keep & leave_out:
        raise AdoptError(f"{', '.join(sorted(both))}: either in KEEP or in LEAVE_OUT, not in both.")
    if used := {target, time} & (keep | leave_out):
        raise AdoptError(f"{', '.join(sorted(map(str, used)))}: TARGET and TIME are no features.")


def _unknown(argument: str, column: str, columns: list[str]) -> str:
    by_lower = {name.lower(): name for name in columns}
    near = difflib.get_close_matches(column.lower(), by_lower, 1)
    meant = f" Did you mean {by_lower[near[0]]!r}?" if near else ""
    shown = ", ".join(columns[:30]) + (
        f" and {len(columns) - 30} more" if len(columns) > 30 else ""
    )
    numbers = any(name.replace(".", "").isdigit() for name in columns)
    hint = " The first line must hold the names of the columns." if numbers else ""
    return f"{argument}: there is no column {column!r}.{meant} The file has {shown}.{hint}"


def _with_time(dialect: Csv, frame: pl.DataFrame, time: str | None) -> Csv:
    if time is None:
        return dialect
    time_format = time_format_of(frame[time])
    if time_format is None:
        values = frame[time].drop_nulls()
        example = f", such as {values[0]!r}" if len(values) else ""
        raise AdoptError(
            f"TIME: the values of {time!r}{example}, are no times that are understood: "
            "write them as 2026-01-31 or 2026-01-31T12:00:00."
        )
    return replace(dialect, time_format=time_format)


def _refused(
    columns: list[Column], keep: frozenset[str], leave_out: frozenset[str], order: list[str]
) -> dict[str, LeftOut]:
    """Return the columns that make no feature whatever they tell of the label."""
    twins = duplicates({each.name: each for each in columns})
    found: dict[str, LeftOut] = {}
    for column in columns:
        why: tuple[Reason, str] | None
        if column.name in leave_out:
            why = "asked", "in LEAVE_OUT"
        elif (why := refusal(column, first=column.name == order[0])) is None:
            twin = twins.get(column.name)
            why = ("duplicate", f"equal to {twin}") if twin and twin not in found else None
        if why and column.name in keep:
            _check_kept(column, *why)
        elif why:
            found[column.name] = LeftOut(column.name, _stored(column), *why)
    return found


def _check_kept(column: Column, reason: Reason, words: str) -> None:
    if reason in {"empty", "constant", "time"}:
        raise AdoptError(f"KEEP: {column.name} can be no feature as it is: {words}.")


def _stored(column: Column) -> Type:
    return str if column.unreadable else column.type


def _leaks(
    strengths: Mapping[str, float],
    keep: frozenset[str],
    label: Label,
    columns: Mapping[str, Column],
) -> dict[str, LeftOut]:
    """Return the columns that seem to tell the label, unless most do, as where it is easy."""
    found = {name: power for name, power in strengths.items() if power > SUSPICIOUS}
    if len(found) > len(strengths) / 2:
        return {}
    words = f"alone it predicts {label.column}: "
    return {
        name: LeftOut(name, _stored(columns[name]), "leak", words + _measure(power, label))
        for name, power in found.items()
        if name not in keep
    }


def _measure(power: float, label: Label) -> str:
    return f"{'R²' if label.task == 'regression' else 'AUC'} {power:.3f}"


def _features(
    columns: list[Column], names: Mapping[str, str], label: Column
) -> tuple[Feature, ...]:
    if not columns:
        return ()
    known = pl.DataFrame({each.name: each.values.is_not_null() for each in columns})
    filled = known.sum_horizontal() * label.values.is_not_null().cast(pl.Int64)
    row = int(filled.arg_max() or 0)
    return tuple(feature(each, names[each.name], row) for each in columns)


def _notes(
    file: File,
    label: Label,
    features: Iterable[Feature],
    strengths: Mapping[str, float],
    time: str | None,
) -> Iterable[str]:
    column = file.columns[label.column]
    if absent := column.values.null_count():
        yield f"{absent:,} rows have no {label.column}: they are quarantined."
    if time and (absent := file.columns[time].values.null_count()):
        yield f"{absent:,} rows have no {time}: they are quarantined."
    if file.damaged:
        yield f"{file.damaged:,} rows have too few or too many values: they are quarantined."
    kept = {each.column for each in features}
    for each in file.columns.values():
        if each.unreadable and each.name in kept:
            yield (
                f"{each.unreadable:,} values of {each.name} are no numbers: "
                "their rows are quarantined."
            )
    yield from _notes_on_label(label)
    strong = sorted((power, name) for name, power in strengths.items() if power > STRONG)
    for power, name in strong[:-6:-1]:
        if name in kept:
            yield (
                f"{name} alone predicts {label.column} well ({_measure(power, label)}): "
                "is it known before a prediction is needed? If not, name it in LEAVE_OUT."
            )
    yield from _notes_on_file(file, time)
    if groups := sorted(kept & {name for name in kept if name.lower() in GROUPS}):
        yield (
            f"{', '.join(groups)}: if such groups must be treated alike, name them under "
            "`fairness` in training.toml; if they may not be used, in LEAVE_OUT."
        )


def _notes_on_label(label: Label) -> Iterable[str]:
    if label.task == "binary" and label.type is not bool:
        yield f"{label.column} counts as true where it is {label.classes[1]}."
    if label.task == "multiclass" and label.type is int:
        yield f"The numbers of {label.column} are classes; TASK=regression predicts a number."


def _notes_on_file(file: File, time: str | None) -> Iterable[str]:
    if file.csv.encoding in {"cp1252", "latin-1"}:
        yield (
            f"The file is not UTF-8 and was read as {file.csv.encoding}: "
            "if letters look wrong, save it as UTF-8."
        )
    if file.missing:
        yield f"Taken as missing: {', '.join(file.missing)}."
    for column, count in file.usual.items():
        if file.columns[column].type is str:
            yield (
                f"{count:,} values of {column} are NA or the like, and read as missing: where that "
                "is a value, give the table `missing=()` in raw.py."
            )
    times = [each.name for each in file.columns.values() if each.type is datetime]
    if times and time is None:
        name = quote(times[0])
        yield f"With TIME={name} the model is judged by the newest rows, as it will be used."
