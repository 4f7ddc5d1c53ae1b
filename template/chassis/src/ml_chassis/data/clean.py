"""Split rows into valid ones and a quarantine with the reason for each refused row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
from narwhals.dtypes import DType
from narwhals.exceptions import NarwhalsError
from polars.exceptions import PolarsError

from ..contract import Column
from . import DataError
from .privacy import said

REASON = "quarantine_reason"


@dataclass(frozen=True)
class Cleaned:
    """The two halves of a table; together they hold every row that came in."""

    valid: nw.DataFrame[Any]
    quarantined: nw.DataFrame[Any]


def clean(frame: nw.LazyFrame[Any], declared: Sequence[Column], private: bool = False) -> Cleaned:
    """Check every row against a schema, as the service would check it.

    Args:
        frame: One column per field of the schema; further columns are kept unchecked.
        declared: The columns of the schema.
        private: Whether the rows hold personal values.

    Returns:
        The valid rows, and the others with the column `quarantine_reason`, such as
        "late: missing; wind_speed: above 200".

    Raises:
        DataError: a column is missing, or has a type that cannot be checked.
    """
    problems = [_problem(column) for column in declared]
    reason = nw.concat_str(*problems, separator="; ", ignore_nulls=True).alias(REASON)
    try:
        _require_columns(frame.collect_schema(), declared)
        checked = frame.with_columns(reason).collect("polars")
    except (NarwhalsError, PolarsError) as error:
        raise DataError(
            f"The features cannot be built from the raw tables: {said(error, private)}"
        ) from error
    refused = nw.col(REASON) != ""
    return Cleaned(checked.filter(~refused).drop(REASON), checked.filter(refused))


def _require_columns(schema: Mapping[str, DType], declared: Sequence[Column]) -> None:
    """Make sure that the frame has what the schema declares.

    Raises:
        DataError: a column is missing, or holds fractions where integers are declared.
    """
    missing = [column.name for column in declared if column.name not in schema]
    if missing:
        raise DataError(
            f"The schema declares {', '.join(missing)}: build it with the other features."
        )
    for column in declared:
        if column.type == "integer" and not schema[column.name].is_integer():
            found = schema[column.name]
            raise DataError(
                f"{column.name} is {found}, not an integer: cast it where the features are built."
            )


def _problem(column: Column) -> nw.Expr:
    """Return what is wrong with a value as text, or null when nothing is."""
    value = nw.col(column.name)
    missing = value.is_null() if column.type != "number" else value.is_null() | value.is_nan()
    checks = [(missing, "missing")] if not column.nullable else []
    if column.type == "number":
        checks.append((~value.is_finite(), "not finite"))
    if column.minimum is not None:
        checks.append((value < column.minimum, f"below {column.minimum:g}"))
    if column.maximum is not None:
        checks.append((value > column.maximum, f"above {column.maximum:g}"))
    if column.above is not None:
        checks.append((value <= column.above, f"not above {column.above:g}"))
    if column.below is not None:
        checks.append((value >= column.below, f"not below {column.below:g}"))
    if column.choices:
        checks.append((~value.is_in(column.choices), f"not one of {', '.join(column.choices)}"))
    if column.pattern:
        checks.append((~value.str.contains(column.pattern), f"does not match {column.pattern}"))

    if column.max_length is not None:
        too_long = value.str.len_chars() > column.max_length
        checks.append((too_long, f"longer than {column.max_length} characters"))

    problem = nw.lit(None, dtype=nw.String)
    for failed, text in reversed(checks):
        problem = nw.when(failed).then(nw.lit(f"{column.name}: {text}")).otherwise(problem)
    return problem
