"""Labels of many predictions, from a file or a table: `make feedback INPUT=...`."""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from .. import settings
from ..contract import Contract
from ..data.database import hide_password, why_failed
from ..data.parse import REASON, to_types
from ..errors import UserError
from ..feedback.store import Store
from ..monitoring.quality import Label
from ..project import Project
from ..serving.feedback import label_of
from ..serving.messages import explain
from ..settings import PREFIX
from . import ScoreError
from .reading import read
from .score import TYPES, words

ID, LABEL = "prediction_id", "label"
AT_ONCE = 5_000
ROW = re.compile(r"-\d+$")
"""Ends the id of each row of an answer; events of a stream have ids of their own."""
SHOWN = 10
"""Problems that are listed: the rest are alike, mostly."""


def run(project: Project, source: str) -> int:
    """Keep all labels for a service to join; return the exit code."""
    try:
        url = settings.read().feedback_url.get_secret_value()
        if not source:
            raise ScoreError("Say from where: make feedback INPUT=labels.csv")
        if not url:
            raise ScoreError(f"Set {PREFIX}FEEDBACK_URL to the database of the service.")
        labels = read_labels(project.contract, source, project.private)
        known = _keep(project, url, labels)
    except _PartError as error:
        print(error, file=sys.stderr)
        return 1
    except UserError as error:
        print(f"No label was taken. {error}", file=sys.stderr)
        return 1
    print(f"{len(labels):,} labels of {hide_password(source)} are kept. {_told(labels, known)}")
    return 0


class _PartError(UserError):
    """Not all labels are kept; the message says how many."""


def _keep(project: Project, url: str, labels: Mapping[str, Label]) -> int:
    """Keep labels part by part, as a service that writes meanwhile waits for seconds only.

    Return of how many the prediction is known.
    """
    store, kept = Store(project.contract, url), 0
    try:
        for part in _parts(labels):
            store.wait(part)
            kept += len(part)
        return store.count_known(labels)
    except SQLAlchemyError as error:
        reason = why_failed(error, url, project.private)
        raise _PartError(
            f"{kept:,} of {len(labels):,} labels are kept; then the database failed: {reason}. "
            "Once it works, do it again: a label that comes twice counts once."
        ) from error
    finally:
        store.close()


def _told(labels: Mapping[str, Label], known: int) -> str:
    """Return what becomes of labels, of which some are of a prediction that is known."""
    joins = "a service with this database joins them within seconds"
    told = [f"Of {known:,} the prediction is known: {joins}."] if known else []
    if known < len(labels):
        told.append(f"Of {len(labels) - known:,} the prediction is not known, or not yet.")
        if bare := [name for name in labels if not ROW.search(name)]:
            told.append(
                f"Of {len(bare):,} the id has no number of a row at its end: the first row of the "
                f"answer {bare[0]} is {bare[0]}-0."
            )
    return " ".join(told)


def read_labels(contract: Contract, source: str, private: bool) -> dict[str, Label]:
    """Return the labels of a file or table, by the ids of predictions.

    Args:
        contract: The schema, which says what a label is.
        source: Has the columns `prediction_id` and `label`.
        private: Whether the rows hold personal values.

    Raises:
        ScoreError: it cannot be read, or a row is not valid; then none is returned.
        DataError: the database cannot be read.
    """
    labels, problems = dict[str, Label](), list[str]()
    for position, name, label, problem in _rows(contract, source, private):
        if not problem and labels.setdefault(name, label) != label:
            problem = "this prediction_id has another label before"
        if problem:
            problems.append(f"row {position}: {problem}")
    if problems:
        more = f" and {len(problems) - SHOWN:,} more" if len(problems) > SHOWN else ""
        raise ScoreError(f"{hide_password(source)}: {'; '.join(problems[:SHOWN])}{more}.")
    if not labels:
        raise ScoreError(f"{hide_password(source)}: there is no row.")
    return labels


def _rows(contract: Contract, source: str, private: bool) -> Iterator[tuple[int, str, Any, str]]:
    """Yield position, id, label and problem of each row."""
    message: Any = label_of(contract)
    types = {ID: str, LABEL: TYPES[contract.label_column.type]}
    for block in read(source, private):
        for broken in block.broken:
            yield broken.position, "", None, broken.reason
        if block.rows.is_empty():  # of lines that are all broken, no column is known
            continue
        if missing := [name for name in types if name not in block.rows.columns]:
            raise ScoreError(
                f"{hide_password(source)}: there is no column {' and no column '.join(missing)}."
            )
        typed = to_types(block.rows.select(ID, LABEL), types, types)
        known = typed.with_columns(pl.Series("position", block.positions))
        for name, label, reason, position in known.select(ID, LABEL, REASON, "position").rows():
            yield position, name, label, reason or _problem(message, name, label)


def _problem(message: Any, name: str, label: Any) -> str:
    try:
        message(prediction_id=name, label=label)
    except ValidationError as error:
        return words(explain(error))
    return ""


def _parts(labels: Mapping[str, Label]) -> Iterator[dict[str, Label]]:
    names = list(labels)
    for start in range(0, len(names), AT_ONCE):
        yield {name: labels[name] for name in names[start : start + AT_ONCE]}
