"""Columns to the model's inputs: numpy finds the bad rows, Pydantic finds the words for them.

For many rows this costs a fraction of going through them one by one. Pydantic, which defines what
a valid row is, reads every row that numpy would refuse, so it alone decides; a property-based test
holds the two to the same verdict.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import mode
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contract import Categorical, Column, Table
from .decode import Decoder
from .messages import INVALID, Problem, RefusedError

Numbers = npt.NDArray[Any]
"""One numeric column, shape (rows,); NaN is missing."""
Texts = Sequence[str | None]
"""One categorical column; None is missing."""
Columns = Mapping[str, Numbers | Texts]


class TableChecker:
    """Checks rows that come in columns, for one schema."""

    def __init__(self, decoder: Decoder) -> None:
        """Take what checks single rows and texts."""
        contract = decoder.contract
        self._check_row, self._known = decoder.messages.check_row, decoder.known
        self._columns = contract.by_name
        self._numeric, self._categorical = contract.numeric, contract.categorical
        numeric = [contract.by_name[name] for name in contract.numeric]
        self._nullable = np.array([column.nullable for column in numeric], np.bool_)
        self._whole = np.array([column.type != "number" for column in numeric], np.bool_)
        self._low, self._high = _limits(numeric, np.float64)
        self._low_single, self._high_single = _limits(numeric, np.float32)

    def check(self, columns: Columns, max_rows: int) -> Table:
        """Return the rows of some columns as the model takes them.

        The column of a feature that may be missing may be left out.

        Raises:
            RefusedError: a column or a row is not valid, or there are no rows or too many (422).
        """
        table, refused = self.split(columns, max_rows)
        for _, error in refused:
            raise error
        return table

    def split(
        self, columns: Columns, max_rows: int
    ) -> tuple[Table, Iterator[tuple[int, RefusedError]]]:
        """Return the same for all rows, and those that are not valid, each with its refusal.

        Raises:
            RefusedError: a column is not valid, or there are no rows or too many (422).
        """
        _refuse(self._wrong_columns(columns))
        rows = mode(map(len, columns.values())) if columns else 0
        _refuse(_wrong_lengths(columns, rows, max_rows))
        numeric, valid_numbers = self._check_numbers(columns, rows)
        categorical, valid_texts = self._check_texts(columns, rows)
        doubtful = np.flatnonzero(~(valid_numbers & valid_texts)).tolist()
        with np.errstate(over="ignore"):  # only where a row is refused
            table = Table(numeric.astype(np.float32), categorical)
        return table, self._refused(columns, doubtful)

    def _refused(self, columns: Columns, rows: Iterable[int]) -> Iterator[tuple[int, RefusedError]]:
        for row in rows:
            values = {name: _value(self._columns[name], columns[name][row]) for name in columns}
            try:
                self._check_row(row, values)
            except RefusedError as error:
                yield row, error

    def _wrong_columns(self, columns: Columns) -> list[Problem]:
        problems = [
            Problem(field=name, message="There is no such feature", reason="unknown_field")
            for name in columns
            if name not in self._columns
        ]
        for name, column in self._columns.items():
            if name not in columns:
                if not column.nullable:
                    message = "Field required"
                    problems.append(Problem(field=name, message=message, reason="missing"))
            elif column.kind == "categorical" and isinstance(columns[name], np.ndarray):
                problems.append(Problem(field=name, message="Input should be text"))
            elif column.kind == "numeric" and not _is_numeric(column, columns[name]):
                message = f"Input should be of type {column.type}"
                problems.append(Problem(field=name, message=message))
        return problems

    def _check_numbers(self, columns: Columns, rows: int) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        """Return the numeric values, shape (rows, columns), and which rows are valid."""
        matrix = np.full((rows, len(self._numeric)), np.nan)
        single = np.zeros(len(self._numeric), np.bool_)
        for at, name in enumerate(self._numeric):
            if name in columns:
                values = np.asarray(columns[name])
                matrix[:, at] = values
                single[at] = values.dtype == np.float32
        low = np.where(single, self._low_single, self._low)
        high = np.where(single, self._high_single, self._high)
        valid = (matrix >= low) & (matrix <= high)
        whole = self._whole
        valid[:, whole] &= matrix[:, whole] == np.floor(matrix[:, whole])
        valid |= np.isnan(matrix) & self._nullable
        return matrix, np.all(valid, axis=1)

    def _check_texts(
        self, columns: Columns, rows: int
    ) -> tuple[Categorical, npt.NDArray[np.bool_]]:
        """Return the texts, shape (rows, columns), and which rows are valid."""
        table = np.full((rows, len(self._categorical)), "", np.object_)
        valid = np.ones(rows, np.bool_)
        for at, name in enumerate(self._categorical):
            if name not in columns:
                continue
            texts, known = columns[name], self._known[name]
            distinct = set(texts)
            if not known.has(distinct):
                invalid = known.invalid(distinct)
                valid &= np.array([text not in invalid for text in texts])
            table[:, at] = [text or "" for text in texts] if None in distinct else texts
        return table, valid


def _limits(columns: Sequence[Column], dtype: type[np.floating[Any]]) -> tuple[Numbers, Numbers]:
    """Return the least and the greatest valid value per numeric column, in a precision.

    A number in single precision is compared with the bound in single precision: what is sent for
    0.1 is then valid where 0.1 is.
    """
    bounds = [_bounds(column, dtype) for column in columns]
    low, high = np.array(bounds, np.float64).reshape(-1, 2).T
    return low, high


def _bounds(column: Column, dtype: type[np.floating[Any]]) -> tuple[Any, Any]:
    if column.type == "boolean":
        return 0, 1
    low = max(_edges(column.minimum, column.above, np.inf, dtype))
    return low, min(_edges(column.maximum, column.below, -np.inf, dtype))


def _edges(
    inside: float | None, outside: float | None, inwards: float, dtype: type[np.floating[Any]]
) -> Iterator[Any]:
    """Yield the outermost valid values, for a bound that is valid and for one that is not."""
    greatest = np.finfo(dtype).max
    if inside is not None:
        yield dtype(np.clip(inside, -greatest, greatest))
    if outside is not None:
        yield np.nextafter(dtype(np.clip(outside, -greatest, greatest)), dtype(inwards))


def _is_numeric(column: Column, values: Numbers | Texts) -> bool:
    if not isinstance(values, np.ndarray):
        return False
    return values.dtype.kind in ("biuf" if column.type == "boolean" else "iuf")


def _wrong_lengths(columns: Columns, rows: int, max_rows: int) -> list[Problem]:
    problems = [
        Problem(
            field=name,
            message=f"Send {rows} values, as for the others, not {len(values)}",
            reason="length",
        )
        for name, values in columns.items()
        if len(values) != rows
    ]
    if not 0 < rows <= max_rows:
        message = f"Send 1 to {max_rows} rows in one request, not {rows}"
        problems.append(Problem(message=message, reason="length"))
    return problems


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise RefusedError(422, INVALID, problems)


def _value(column: Column, value: Any) -> Any:
    """Return a value of a column as JSON for /predict has it."""
    if not isinstance(value, np.generic):
        return value
    if np.isnan(value):
        return None
    if column.type == "boolean" and value in (0, 1):
        return bool(value)
    # The shortest number that single precision cannot tell from this one, as JSON would have it.
    number = float(str(value)) if isinstance(value, np.float32) else value.item()
    return int(number) if column.type == "integer" and number == number // 1 else number
