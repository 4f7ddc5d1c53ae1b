"""Score every row of a file or table as `POST /predict` would answer it."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from ..contract import Column, Contract, Predictions, Table
from ..data.formats import Block
from ..data.parse import REASON, cleared, to_types
from ..data.tables import MISSING_WORDS, Type
from ..serving.decode import Decoder
from ..serving.messages import RefusedError
from ..serving.predictor import Predictor
from ..serving.table import Columns, TableChecker
from . import ScoreError
from .reading import read
from .writing import Output, Refused, writing

BATCH_ROWS = 4_096
"""Rows in one call of the model: more are not faster, and need more memory."""
SAY_SECONDS = 2
TYPES: dict[str, Type] = {"number": float, "integer": int, "boolean": bool, "string": str}


class Model(NamedTuple):
    """What answers, and the schema of what is asked."""

    contract: Contract
    version: str
    predictor: Predictor

    @property
    def added(self) -> tuple[str, ...]:
        """The columns that rows get."""
        return (*self.contract.prediction_columns, "model_version", "prediction_id")


@dataclass
class Done:
    """How many rows were scored and refused, in how many seconds."""

    scored: int = 0
    refused: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        """Say it in a line."""
        rate = (self.scored + self.refused) / max(self.seconds, 1e-9)
        return f"{self.scored:,} rows scored, {self.refused:,} refused; {rate:,.0f} rows/s"


def score(
    model: Model, source: str, path: Path, limit: float | None = None, private: bool = False
) -> Done:
    """Write the rows of a source with their predictions to a file.

    Args:
        model: What answers.
        source: A file or a table; see `reading.read`.
        path: The file, of any kind that can be read; it is replaced when all rows are scored.
        limit: Largest share of refused rows with which it is written at all.
        private: Whether the rows hold personal values.

    Raises:
        ScoreError: a column is missing, too many rows are refused, or a file cannot be read or
            written. The file is then as it was before.
        DataError: the database cannot be read.
    """
    start = told = time.monotonic()
    done, checker = Done(), TableChecker(Decoder(model.contract))
    with writing(path, source, private) as output:
        for chunk in read(source, private):
            _score_chunk(chunk, model, checker, output, done)
            done.seconds = time.monotonic() - start
            if time.monotonic() - told > SAY_SECONDS:
                print(f"      {done}", flush=True)
                told = time.monotonic()
        _require_rows(done, limit, output)
        output.keep()
        output.keep_refused()
    done.seconds = time.monotonic() - start
    return done


def with_predictions(
    rows: pl.DataFrame, answers: Predictions, model: Model, ids: pl.Series
) -> pl.DataFrame:
    """Return rows with the columns of `Model.added`."""
    names = model.contract.prediction_columns
    predicted = map(pl.Series, names, answers.reshape(rows.height, len(names)).T)
    return rows.with_columns(*predicted, model_version=pl.lit(model.version), prediction_id=ids)


def _score_chunk(
    chunk: Block, model: Model, checker: TableChecker, output: Output, done: Done
) -> None:
    """Write the good rows of a chunk with their predictions, and why the others are refused."""
    listed: list[Refused] = [(each.position, each.reason) for each in chunk.broken]
    if len(chunk.positions):
        scored, refused = _score_rows(chunk, model, checker)
        output.write(scored)
        done.scored += scored.height
        listed += [(chunk.positions[at], reason) for at, reason in refused.items()]
    output.refuse(sorted(listed))
    done.refused += len(listed)


def _score_rows(
    chunk: Block, model: Model, checker: TableChecker
) -> tuple[pl.DataFrame, dict[int, str]]:
    """Return the good rows with their predictions, and what is wrong with each of the others.

    Raises:
        ScoreError: a column is missing or of a type that cannot be read.
    """
    features, refused = _read_features(chunk, model)
    try:
        table, invalid = checker.split(_columns(features), features.height)
    except RefusedError as error:
        raise ScoreError(f"INPUT: {words(error)}.") from None
    refused = {at: words(error) for at, error in invalid} | refused
    good = np.ones(features.height, np.bool_)
    good[list(refused)] = False
    answers = _predict(model.predictor, Table(table.numeric[good], table.categorical[good]))
    finite = (
        np.isfinite(answers)
        .reshape(len(answers), len(model.contract.prediction_columns))
        .all(axis=1)
    )
    refused |= dict.fromkeys(np.flatnonzero(good)[~finite].tolist(), "the model has no answer")
    rows = chunk.rows.with_columns(features).filter(good)
    ids = _ids(chunk, model.version).filter(good)
    return with_predictions(rows, answers, model, ids).filter(pl.Series(finite)), refused


def _read_features(chunk: Block, model: Model) -> tuple[pl.DataFrame, dict[int, str]]:
    """Return the columns of the features, and which rows hold text that cannot be read, and why.

    Raises:
        ScoreError: a column is missing, or holds no single values.
    """
    types, declared = chunk.rows.schema, model.contract.features
    if taken := [name for name in model.added if name in types]:
        raise ScoreError(f"INPUT: there is a column {', '.join(taken)} already; rename it.")
    if missing := [each.name for each in declared if not (each.nullable or each.name in types)]:
        there = ", ".join(types) or "none"
        raise ScoreError(
            f"INPUT: there is no column {', '.join(missing)}; the schema asks for it. "
            f"Columns are {there}."
        )
    given = [column for column in declared if column.name in types]
    if nested := [each.name for each in given if types[each.name].is_nested()]:
        raise ScoreError(f"INPUT: {', '.join(nested)}: a feature is one value, no list or object.")
    features = chunk.rows.select(_plain(column, types[column.name]) for column in given)
    as_words = [
        column
        for column in given
        if features.schema[column.name] == pl.String and (chunk.words or column.kind == "numeric")
    ]
    if not as_words:
        return features, {}
    kinds = {column.name: TYPES[column.type] for column in as_words}
    known = features.select(
        cleared(each.name, pl.String(), _missing(each) if chunk.words else ()) for each in as_words
    )
    checked = to_types(known, kinds).with_row_index("row")
    unread = checked.filter(pl.col(REASON) != "").select("row", REASON)
    return features.with_columns(checked.select(*kinds)), dict(unread.iter_rows())


def _missing(column: Column) -> list[str]:
    """Return the words of CSV that say that a value is missing: those that are no choice."""
    choices = {choice.lower() for choice in column.choices or ()}
    return [word for word in ("", *MISSING_WORDS) if word not in choices]


def _plain(column: Column, dtype: pl.DataType) -> pl.Expr:
    """Return a feature in one of the types that checks know: numbers or text."""
    value = pl.col(column.name)
    if dtype == pl.Null:
        return value.cast(pl.Float64 if column.kind == "numeric" else pl.String)
    if dtype.is_decimal() or dtype in (pl.Int128, pl.UInt128):  # NumPy has none of these
        return value.cast(pl.Float64)
    if dtype == pl.Boolean and column.type == "boolean":
        return value.cast(pl.Float64)
    return value.cast(pl.String) if isinstance(dtype, pl.Categorical | pl.Enum) else value


def _columns(features: pl.DataFrame) -> Columns:
    return {
        column.name: column.to_list() if column.dtype == pl.String else column.to_numpy()
        for column in features
    }


def _predict(predictor: Predictor, table: Table) -> Predictions:
    starts = range(0, len(table), BATCH_ROWS)
    parts = (table[start : start + BATCH_ROWS] for start in starts)
    answers = [predictor.predict(part.numeric, part.categorical) for part in parts]
    return np.concatenate(answers) if answers else np.empty(0, np.float32)


def _ids(chunk: Block, version: str) -> pl.Series:
    """Return a name per row: that of its chunk and its position.

    The same rows in the same places, scored by the same version, have the same names, so that what
    is scored again is joined with the labels that came for it before.
    """
    digest = hashlib.sha256(f"{version} {chunk.positions[0]}".encode())
    digest.update(chunk.rows.hash_rows().to_numpy().tobytes())
    return f"{digest.hexdigest()[:16]}-" + chunk.positions.cast(pl.String)


def words(refused: RefusedError) -> str:
    """Return what is wrong, by field and without the row."""
    problems = refused.refusal.problems
    return "; ".join(f"{each.field}: {each.message}" for each in problems)


def _require_rows(done: Done, limit: float | None, output: Output) -> None:
    """Make sure that enough rows were scored.

    Raises:
        ScoreError: there are none, or too many were refused.
    """
    rows = done.scored + done.refused
    if not rows:
        raise ScoreError("INPUT: there are no rows.")
    share = done.refused / rows
    if not done.scored or (limit is not None and share > limit):
        output.keep_refused()
        allowed = f", and the gate refused_share allows {limit:.1%}" if limit is not None else ""
        raise ScoreError(f"{share:.1%} of the rows are refused{allowed}: {output.refused_path}.")
