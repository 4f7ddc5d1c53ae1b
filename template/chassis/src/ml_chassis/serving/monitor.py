"""What BentoML's monitor logs: answers with their features, for tools that read its files.

Once a second a thread gives some of the rows that were chosen to `bentoml.monitor`, which writes
them where BentoML's configuration says. What fails there costs rows, which the log counts, and
never a prediction.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from math import isnan
from random import sample
from typing import Any, NamedTuple

import bentoml

from ..contract import Categorical, Contract, Numeric
from ..feedback.sample import Noted, gather
from ..feedback.writer import Writer

LOGGER = logging.getLogger("model_service")
SAY_SECONDS = 60
MOST = 10
"""Records a second in one process: each costs more than a prediction."""
WRITERS = ("bentoml_monitor_data", "bentoml_monitor_schema")
"""The loggers with which BentoML writes."""
OURS = ("prediction", "prediction_id", "model_version")
TAKEN = {*OURS, "timestamp", "request_id", "trace_id", "bento_meta"}
"""Names that no feature has in a record: the last four are BentoML's."""


class Column(NamedTuple):
    """One of a record, in BentoML's terms."""

    name: str
    role: str
    type: str


class Monitor(Writer):
    """Notes answers for one schema and one of BentoML's monitors."""

    def __init__(self, contract: Contract, name: str) -> None:
        """Take the schema and the name of the monitor."""
        super().__init__()
        self._contract, self._name = contract, name
        self._columns = _columns(contract)
        # Of its own: a folder that hangs must not stop what other threads do.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="monitor")
        self._lost, self._why = 0, ""
        self._said = -float("inf")

    def flush(self) -> None:
        """Log what was noted; is called every second, in a thread."""
        noted = self.take_noted()
        left = min(MOST, sum(len(each.chosen) for each in noted))
        try:
            for record in sample(list(self._records(noted)), left):
                # A record that fails leaves its values behind, in the context.
                copy_context().run(self._log, record)
                left -= 1
        except Exception as error:  # of a folder, a collector, or BentoML's configuration
            self._lost += left
            said = f": {error}" if isinstance(error, OSError) else ""  # others may name values
            self._why = f"{type(error).__name__}{said}"
        if self._lost and time.monotonic() - self._said > SAY_SECONDS:
            self._say()

    def lose(self, rows: int) -> None:
        """Count rows that are not logged."""
        self._lost += rows
        self._why = "it hangs"

    async def in_background(self) -> None:
        """Flush, and let the event loop go on."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self.flush)

    def close(self) -> None:
        """Let go of the thread, and say what was lost since this was said last."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._lost:
            self._say()

    def _records(self, noted: Sequence[Noted]) -> Iterable[tuple[Any, ...]]:
        """Return the values of rows that are chosen, in the order of the columns."""
        if not noted:
            return ()
        chosen = gather(noted)
        numeric, categorical = self._contract.to_inputs(chosen.rows)
        features = _features(self._contract, numeric, categorical)
        return zip(*features, chosen.predictions, chosen.ids, chosen.versions, strict=True)

    def _log(self, record: tuple[Any, ...]) -> None:
        monitor = None
        try:
            with bentoml.monitor(self._name) as monitor:
                _let_errors_out(monitor)
                for value, column in zip(record, self._columns, strict=True):
                    monitor.log(value, *column)
        except Exception:
            if monitor:
                monitor.columns_schema = None  # or it would take them for written
            raise

    def _say(self) -> None:
        text = "the monitor %s did not log %d predictions: %s"
        LOGGER.error(text, self._name, self._lost, self._why)
        self._lost, self._said = 0, time.monotonic()


def _columns(contract: Contract) -> list[Column]:
    features = [
        Column(f"{name}_" if name in TAKEN else name, "feature", kind)
        for names, kind in (
            (_shown(contract, contract.numeric), "numerical"),
            (_shown(contract, contract.categorical), "categorical"),
        )
        for name in names
    ]
    prediction = "numerical_sequence" if contract.classes else "numerical"
    types = (prediction, "categorical", "categorical")
    return [
        *features,
        *(Column(name, "prediction", type_) for name, type_ in zip(OURS, types, strict=True)),
    ]


def _features(
    contract: Contract, numeric: Numeric, categorical: Categorical
) -> Iterable[Sequence[Any]]:
    """Yield the values of each feature of rows; None is missing."""
    for name in _shown(contract, contract.numeric):
        values = numeric[:, contract.numeric.index(name)].tolist()
        yield [None if isnan(each) else each for each in values]
    for name in _shown(contract, contract.categorical):
        yield [each or None for each in categorical[:, contract.categorical.index(name)]]


def _shown(contract: Contract, names: Iterable[str]) -> list[str]:
    return [name for name in names if name not in contract.personal]


def _let_errors_out(monitor: Any) -> None:
    """Let what BentoML's loggers cannot write fail: by itself, logging prints such errors."""
    if getattr(monitor, "data_logger", monitor) is None:  # else it makes them with the first record
        monitor._init_logger()
    for name in WRITERS:
        for handler in logging.getLogger(name).handlers:
            handler.handleError = _raise  # type: ignore[assignment, method-assign]


def _raise(_: logging.LogRecord) -> None:
    raise
