"""Arrow's streams (IPC) to columns of numbers, booleans and text.

A stream comes from anybody, so no library reads it that a damaged one can crash; docs/decisions.md
names them. FlatBuffers, which ONNX Runtime brings, reads the metadata and numpy views the data, and
neither leaves its bounds. Compressed streams, which could become any size, and nested columns are
refused; so are dictionaries of which rows make too much.

https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from flatbuffers import number_types as types
from flatbuffers.table import Table as Flat

from ..contract import Contract
from .messages import INVALID, Problem, Reason, RefusedError, require_few
from .table import Columns, Numbers, Texts

ARROW = "application/vnd.apache.arrow.stream"
MAX_BATCHES = 100
MAX_GROWTH = 64
"""How many times as long as the stream its texts may be, where rows share them by a dictionary."""
MAX_NAME = 100

CONTINUATION = 0xFFFFFFFF
SCHEMA, DICTIONARY_BATCH, RECORD_BATCH = 1, 2, 3
NULL, INT, FLOAT, UTF8, BOOL, LARGE_UTF8, UTF8_VIEW = 1, 2, 3, 5, 6, 20, 24
FLOATS = {1: "<f4", 2: "<f8"}
TEXTS = {UTF8, LARGE_UTF8, UTF8_VIEW}
OFFSETS = {UTF8: "<i4", LARGE_UTF8: "<i8"}
INTEGERS = {f"<{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8)}
VIEW_BYTES, INLINE_BYTES = 16, 12
SHORT = np.dtype([("size", "<i4"), ("text", f"S{INLINE_BYTES}")])
"""The view of a text that lies in it; zeros follow the text."""
MAX_KNOWN_BYTES = 16_384

NO_LENGTHS = np.zeros(1, np.int64)
NOTHING = np.array([None]), NO_LENGTHS
"""A dictionary that was not sent, for rows that are missing all the same."""

Buffers = Iterator[memoryview]


class Field(NamedTuple):
    """A column of the stream: its name, how it is stored, and whether its values are texts.

    Where rows have indices into a dictionary, their type and which dictionary it is.
    """

    name: str
    kind: int
    dtype: str
    is_text: bool
    indices: str = ""
    dictionary: int = 0


class Dictionaries:
    """The values to which the rows of some columns point."""

    def __init__(self, fields: Sequence[Field], size: int) -> None:
        """Take the columns, and how long the texts of all rows may be."""
        self._values = {
            each.dictionary: each._replace(indices="") for each in fields if each.indices
        }
        self._known: dict[int, tuple[Numbers, Numbers]] = {}
        self._left = size

    def add(self, header: Flat, data: memoryview) -> None:
        """Take a batch of values, which replace those before or follow them."""
        name = header.GetSlot(_slot(0), 0, types.Int64Flags)
        batch = _child(header, 1)
        rows = batch.GetSlot(_slot(0), 0, types.Int64Flags)
        if not 0 <= rows <= len(data):
            raise ValueError("its data cannot hold so many values")
        field = self._values[name]
        (read,) = _read_batch(batch, data, [field], rows, self) if rows else ([],)
        values = np.array([*read, None]) if field.is_text else np.append(read, np.nan)
        lengths = np.array([len(each or "") for each in values]) if field.is_text else NO_LENGTHS
        if header.GetSlot(_slot(2), False, types.BoolFlags):  # it follows those that are known
            before = self._known.get(name, NOTHING)
            values = np.concatenate([before[0][:-1], values])
            lengths = np.concatenate([before[1][:-1], lengths])
        self._known[name] = values, lengths

    def look_up(self, field: Field, at: Numbers) -> Numbers | Texts:
        """Return the values at indices; a missing one is NaN."""
        values, lengths = self._known.get(field.dictionary, NOTHING)
        missing, last = np.isnan(at), len(values) - 1
        if np.any((at < 0) | (at >= last)):
            raise ValueError("an index lies outside its dictionary")
        places = np.where(missing, last, at).astype(np.int64)
        found: npt.NDArray[Any] = values[places]
        if not field.is_text:
            return found.astype(np.float64) if found.dtype == np.object_ else found
        self._left -= int(lengths[places].sum())
        if self._left < 0:
            raise RefusedError(422, f"{INVALID} Send long texts as text, not as a dictionary.")
        texts: list[str | None] = found.tolist()
        return texts


def read_stream(contract: Contract, body: bytes, max_rows: int) -> Columns:
    """Return the columns of a stream; a missing number is NaN, a missing text None.

    Raises:
        RefusedError: it is no stream (400), or has more rows than allowed or something else than
            numbers, booleans and text (422).
    """
    try:
        fields, batches = _read(contract, body, max_rows)
    except (ValueError, TypeError, LookupError, OverflowError, struct.error) as error:
        raise RefusedError(400, f"The body is no Arrow stream, or a damaged one: {error}") from None
    columns: dict[str, Numbers | Texts] = {}
    for at, field in enumerate(fields):
        parts = [batch[at] for batch in batches]
        if field.is_text:
            columns[field.name] = list(chain.from_iterable(parts))
        else:
            columns[field.name] = np.concatenate(parts) if parts else np.empty(0)
    return columns


def _read(contract: Contract, body: bytes, max_rows: int) -> tuple[list[Field], list[list[Any]]]:
    messages = _messages(body)
    kind, header, _ = next(messages, (0, None, None))
    if kind != SCHEMA or header is None:
        raise ValueError("there is no schema")
    known = len(header.Bytes) <= MAX_KNOWN_BYTES
    if known:
        fields = _known_fields(contract, header.Bytes, header.Pos)
    else:
        fields = _fields(contract, header)
    batches: list[list[Any]] = []
    dictionaries = Dictionaries(fields, MAX_GROWTH * len(body))
    total = 0
    sent = {DICTIONARY_BATCH: 0, RECORD_BATCH: 0}
    for kind, header, data in messages:
        if header is None or kind not in sent:
            raise ValueError("there is something else than batches")
        sent[kind] += 1
        if sent[kind] > MAX_BATCHES:
            raise RefusedError(422, f"{INVALID} Send {MAX_BATCHES} batches of a kind at most.")
        if kind == DICTIONARY_BATCH:
            dictionaries.add(header, data)
            continue
        rows = header.GetSlot(_slot(0), 0, types.Int64Flags)
        if rows < 0:
            raise ValueError("a number of rows is negative")
        total += rows
        require_few(total, max_rows)
        if rows:
            batches.append(_read_batch(header, data, fields, rows, dictionaries))
    return fields, batches


def _messages(body: bytes) -> Iterator[tuple[int, Flat, memoryview]]:
    """Yield the kind of each message, its metadata and its data."""
    at, end = 0, len(body)
    while at < end:
        marker, size = struct.unpack_from("<Ii", body, at)
        if marker != CONTINUATION or size < 0:
            raise ValueError("there is no message where one should begin")
        if size == 0:  # the end
            end = at + 8
            if end != len(body):
                raise ValueError("something follows its end")
            return
        start = at + 8 + size
        metadata = body[at + 8 : start]
        (root,) = struct.unpack_from("<I", metadata)
        message = Flat(metadata, root)
        at = start + message.GetSlot(_slot(3), 0, types.Int64Flags)
        if not start <= at <= end:
            raise ValueError("it ends too early")
        kind = message.GetSlot(_slot(1), 0, types.Uint8Flags)
        yield kind, _child(message, 2), memoryview(body)[start:at]


@lru_cache(16)
def _known_fields(contract: Contract, metadata: bytes, at: int) -> list[Field]:
    """Return the columns; a client that asks again declares the same ones."""
    return _fields(contract, Flat(metadata, at))


def _fields(contract: Contract, schema: Flat) -> list[Field]:
    if schema.GetSlot(_slot(0), 0, types.Int16Flags):
        raise ValueError("its numbers are big-endian")
    start, count = _vector(schema, 1)
    count = min(
        count, len(contract.features) + 1
    )  # more would repeat a name or have one that is none
    places = (schema.Indirect(start + 4 * at) for at in range(count))
    fields = [_field(contract, Flat(schema.Bytes, place)) for place in places]
    if len({field.name for field in fields}) != count:
        raise RefusedError(422, f"{INVALID} Two columns have the same name.")
    return fields


def _field(contract: Contract, table: Flat) -> Field:
    offset = table.Offset(_slot(0))
    name = table.String(offset + table.Pos).decode() if offset else ""
    if name not in contract.by_name:  # at once, and without all of a name that may be of any length
        raise _refusal(name[:MAX_NAME], "There is no such feature", "unknown_field")
    kind = table.GetSlot(_slot(2), 0, types.Uint8Flags)
    dtype = ""
    if kind == INT:
        dtype = _integers(_child(table, 3))
    if kind == FLOAT:
        dtype = FLOATS.get(_child(table, 3).GetSlot(_slot(0), 0, types.Int16Flags), "")
    readable = dtype in INTEGERS or dtype in FLOATS.values()
    if not (readable or kind in (NULL, BOOL, UTF8, LARGE_UTF8, UTF8_VIEW)):
        raise _refusal(name, "The column should hold numbers, booleans or text")
    # A column of nothing is what the feature is.
    is_text = kind in TEXTS or (kind == NULL and name in contract.categorical)
    if not table.Offset(_slot(4)):
        return Field(name, kind, dtype, is_text)
    if kind in (NULL, BOOL):
        raise _refusal(name, "A dictionary should hold numbers or text")
    encoding = _child(table, 4)
    index = _integers(_child(encoding, 1)) if encoding.Offset(_slot(1)) else "<i4"
    if index not in INTEGERS:
        raise ValueError("an index is no whole number")
    dictionary = encoding.GetSlot(_slot(0), 0, types.Int64Flags)
    return Field(name, kind, dtype, is_text, index, dictionary)


def _integers(table: Flat) -> str:
    """Return how whole numbers of a type are stored."""
    width = table.GetSlot(_slot(0), 0, types.Int32Flags)
    signed = table.GetSlot(_slot(1), False, types.BoolFlags)
    return f"<{'i' if signed else 'u'}{width // 8}"


def _refusal(name: str, message: str, reason: Reason = "type") -> RefusedError:
    return RefusedError(422, INVALID, [Problem(field=name, message=message, reason=reason)])


def _read_batch(
    header: Flat, data: memoryview, fields: Sequence[Field], rows: int, dictionaries: Dictionaries
) -> list[Any]:
    """Return the columns of a record batch."""
    if header.Offset(_slot(3)):
        raise RefusedError(422, f"{INVALID} Send the stream uncompressed.")
    lengths = _pairs(header, 1)[:, 0].tolist()
    if lengths != [rows] * len(fields):
        raise ValueError("its columns are not of one length")
    buffers = (_part(data, start, size) for start, size in _pairs(header, 2).tolist())
    start, count = _vector(header, 4) if header.Offset(_slot(4)) else (0, 0)
    counts = iter(np.frombuffer(header.Bytes, "<i8", count, start).tolist() if count else [])
    columns = [_read_column(field, rows, buffers, counts, dictionaries) for field in fields]
    if next(buffers, None) is not None:
        raise ValueError("there are more buffers than columns")
    return columns


def _read_column(
    field: Field, rows: int, buffers: Buffers, counts: Iterator[int], dictionaries: Dictionaries
) -> Numbers | Texts:
    if field.indices:
        whole = Field(field.name, INT, field.indices, is_text=False)
        at = _read_column(whole, rows, buffers, counts, dictionaries)
        return dictionaries.look_up(field, np.asarray(at))
    if field.kind == NULL:
        return [None] * rows if field.is_text else np.full(rows, np.nan)
    bitmap = _take(buffers)
    present = _bits(bitmap, rows) if len(bitmap) else None
    if field.kind in OFFSETS:
        texts = _slices(_take(buffers), _take(buffers), OFFSETS[field.kind], rows)
    elif field.kind == UTF8_VIEW:
        views, count = _take(buffers), next(counts, 0)
        texts = _views(views, [_take(buffers) for _ in range(count)], rows)
    else:
        raw = _take(buffers)
        values = _bits(raw, rows) if field.kind == BOOL else np.frombuffer(raw, field.dtype, rows)
        return values if present is None else np.where(present, values, np.nan)
    if present is None:
        return texts
    return [text if here else None for text, here in zip(texts, present.tolist(), strict=True)]


def _slices(offsets: memoryview, data: memoryview, dtype: str, rows: int) -> list[str]:
    """Return the texts that lie one behind the other."""
    ends = np.frombuffer(offsets, dtype, rows + 1)
    if ends[0] < 0 or ends[-1] > len(data) or np.any(ends[1:] < ends[:-1]):
        raise ValueError("a text lies outside its buffer")
    raw = bytes(data[ends[0] : ends[-1]])
    places = pairwise((ends - ends[0]).tolist())
    if raw.isascii():
        text = raw.decode()
        return [text[start:end] for start, end in places]
    return [raw[start:end].decode() for start, end in places]


def _views(views: memoryview, data: Sequence[memoryview], rows: int) -> list[str]:
    """Return the texts of which short ones lie in the view itself, others where it points to."""
    found = np.frombuffer(views, SHORT, rows)
    texts = found["text"].tolist()
    if list(map(len, texts)) == found["size"].tolist():  # all lie in their views
        return [text.decode() for text in texts]
    texts = []
    left = sum(map(len, data))  # many views of one long text would become any size
    for view in range(0, rows * VIEW_BYTES, VIEW_BYTES):
        size, _, index, start = struct.unpack_from("<iiii", views, view)
        if size > INLINE_BYTES:
            left -= size
            text = _part(data[index], start, size)
        else:
            text = _part(views, view + 4, size)
        if left < 0 or (index < 0 and size > INLINE_BYTES):
            raise ValueError("a text lies outside its buffer")
        texts.append(bytes(text).decode())
    return texts


def _part(data: memoryview, start: int, size: int) -> memoryview:
    if not 0 <= start <= start + size <= len(data):
        raise ValueError("a buffer lies outside the body")
    return data[start : start + size]


def _bits(raw: memoryview, rows: int) -> npt.NDArray[np.bool_]:
    packed = np.frombuffer(raw, np.uint8, (rows + 7) // 8)
    return np.unpackbits(packed, count=rows, bitorder="little").astype(np.bool_)


def _take(buffers: Buffers) -> memoryview:
    for buffer in buffers:
        return buffer
    raise ValueError("there are fewer buffers than columns")


def _slot(number: int) -> int:
    """Return where FlatBuffers' table of a table's fields has the field of a number."""
    return 4 + 2 * number


def _child(table: Flat, field: int) -> Flat:
    offset = table.Offset(_slot(field))
    if not offset:
        raise ValueError("a part of the metadata is missing")
    return Flat(table.Bytes, table.Indirect(offset + table.Pos))


def _vector(table: Flat, field: int) -> tuple[int, int]:
    """Return where a vector starts, and the number of its elements."""
    offset = table.Offset(_slot(field))
    return (table.Vector(offset), table.VectorLen(offset)) if offset else (0, 0)


def _pairs(table: Flat, field: int) -> npt.NDArray[np.int64]:
    """Return a vector of pairs of numbers, shape (elements, 2)."""
    start, count = _vector(table, field)
    if not count:
        return np.empty((0, 2), np.int64)
    return np.frombuffer(table.Bytes, "<i8", 2 * count, start).reshape(count, 2)
