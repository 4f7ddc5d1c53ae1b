"""Predictions as a stream of Arrow (IPC).

The columns are `prediction`, or `prediction of CLASS` for each class, and `prediction_id`.
"""

import struct
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from flatbuffers import Builder

from ..contract import Contract, Prediction
from .arrow_reader import CONTINUATION, FLOAT, RECORD_BATCH, SCHEMA, UTF8

FORMAT_VERSION = 4
SINGLE = 1


class StreamWriter:
    """Writes the answers to requests for predictions, for one schema."""

    def __init__(self, contract: Contract) -> None:
        """Write down the columns, which are the same in every stream."""
        self._width = len(contract.prediction_columns)
        self._schema = _schema(contract.prediction_columns)

    def write(self, predictions: Sequence[Prediction], ids: Sequence[str]) -> bytes:
        """Return a stream of the predictions, FP32, and their names, text."""
        texts = [text.encode() for text in ids]
        ends = np.fromiter(accumulate(map(len, texts), initial=0), "<i4", len(texts) + 1)
        columns = np.array(predictions, "<f4").reshape(len(ids), self._width).T
        values = [part for column in columns for part in (b"", column.tobytes())]
        buffers = [*values, b"", ends.tobytes(), b"".join(texts)]
        batch = _batch(len(ids), self._width + 1, buffers)
        return self._schema + batch + struct.pack("<Ii", CONTINUATION, 0)


def _batch(rows: int, columns: int, buffers: Sequence[bytes]) -> bytes:
    builder = Builder()
    padded = [buffer + b"\0" * (-len(buffer) % 8) for buffer in buffers]
    starts = accumulate(map(len, padded), initial=0)
    places = [(start, len(buffer)) for start, buffer in zip(starts, buffers, strict=False)]
    nodes, parts = (
        _write_pairs(builder, [(rows, 0)] * columns),
        _write_pairs(builder, places),
    )
    builder.StartObject(3)
    builder.PrependInt64Slot(0, rows, 0)
    builder.PrependUOffsetTRelativeSlot(1, nodes, 0)
    builder.PrependUOffsetTRelativeSlot(2, parts, 0)
    return _message(builder, RECORD_BATCH, builder.EndObject(), b"".join(padded))


def _write_pairs(builder: Builder, pairs: Sequence[tuple[int, int]]) -> int:
    builder.StartVector(16, len(pairs), 8)
    for first, second in reversed(pairs):  # a buffer is built from its end
        builder.PrependInt64(second)
        builder.PrependInt64(first)
    return int(builder.EndVector())


def _schema(columns: Sequence[str]) -> bytes:
    builder = Builder()
    builder.StartObject(1)
    builder.PrependInt16Slot(0, SINGLE, 0)
    single = builder.EndObject()
    builder.StartObject(0)
    text = builder.EndObject()
    fields = [
        *(_write_field(builder, name, FLOAT, single) for name in columns),
        _write_field(builder, "prediction_id", UTF8, text),
    ]
    builder.StartVector(4, len(fields), 4)
    for field in reversed(fields):
        builder.PrependUOffsetTRelative(field)
    vector = builder.EndVector()
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(1, vector, 0)
    return _message(builder, SCHEMA, builder.EndObject(), b"")


def _write_field(builder: Builder, name: str, kind: int, stored: int) -> int:
    title = builder.CreateString(name)
    builder.StartVector(4, 0, 4)
    children = builder.EndVector()
    builder.StartObject(6)
    builder.PrependUOffsetTRelativeSlot(0, title, 0)
    builder.PrependUint8Slot(2, kind, 0)
    builder.PrependUOffsetTRelativeSlot(3, stored, 0)
    builder.PrependUOffsetTRelativeSlot(5, children, 0)
    return int(builder.EndObject())


def _message(builder: Builder, kind: int, header: int, data: bytes) -> bytes:
    builder.StartObject(4)
    builder.PrependInt16Slot(0, FORMAT_VERSION, 0)
    builder.PrependUint8Slot(1, kind, 0)
    builder.PrependUOffsetTRelativeSlot(2, header, 0)
    builder.PrependInt64Slot(3, len(data), 0)
    builder.Finish(builder.EndObject())
    metadata = bytes(builder.Output())
    metadata += b"\0" * (-len(metadata) % 8)
    return struct.pack("<Ii", CONTINUATION, len(metadata)) + metadata + data
