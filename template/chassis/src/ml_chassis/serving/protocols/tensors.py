"""Tensors of the Open Inference Protocol: in JSON, or as binary data behind it."""

import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from ...contract import Column
from ..messages import INVALID, Problem, Reason, RefusedError
from ..table import Columns, Numbers, Texts

NUMERIC = {"BOOL": "?", "INT32": "<i4", "INT64": "<i8", "FP32": "<f4", "FP64": "<f8"}
"""Data types of numeric features, and how numpy reads them."""
TEXT = "BYTES"
DATATYPES = {"number": "FP32", "integer": "INT64", "boolean": "BOOL", "string": TEXT}
"""What the metadata say of a feature; another numeric type is taken too."""

_NUMBER: set[type] = {int, float, type(None)}
_IN_JSON: dict[str, set[type]] = {
    "BOOL": {bool},
    "INT32": {int},
    "INT64": {int},
    "FP32": _NUMBER,
    "FP64": _NUMBER,
}


Values = Annotated[list[Any], msgspec.Meta(extra_json_schema={"items": {}})]


class InferInput(msgspec.Struct):
    """One feature of all rows."""

    name: Annotated[str, msgspec.Meta(description="Name of the feature.")]
    shape: Annotated[
        list[int],
        msgspec.Meta(
            description="[rows] or [rows, 1].", extra_json_schema={"minItems": 1, "maxItems": 2}
        ),
    ]
    datatype: Annotated[
        str,
        msgspec.Meta(
            description="BYTES for text, another for numbers.",
            extra_json_schema={"enum": [*NUMERIC, TEXT]},
        ),
    ]
    parameters: Annotated[
        dict[str, Any] | None,
        msgspec.Meta(description="binary_data_size: bytes behind the JSON, instead of data."),
    ] = None
    data: Annotated[
        Values | None,
        msgspec.Meta(description='The values; NaN, null or, as text, "" where one is missing.'),
    ] = None


def read_tensors(
    features: Mapping[str, Column], tensors: Sequence[InferInput], binary: bytes
) -> Columns:
    """Return the columns that tensors hold.

    Args:
        features: The columns of the schema by name.
        tensors: The tensors; those with a `binary_data_size` have their data in `binary`.
        binary: What follows the JSON.

    Raises:
        RefusedError: a tensor is not what it says (422).
    """
    columns: dict[str, Numbers | Texts] = {}
    start = 0
    for tensor in tensors:
        if tensor.name in columns:
            raise _wrong(tensor, "There is more than one tensor of this name")
        rows = _rows(tensor)
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is not None:
            end = start + _size(tensor, size)
            if end > len(binary):
                raise _wrong(tensor, "binary_data_size is more than was sent")
            values = _from_bytes(tensor, rows, binary[start:end])
            start = end
        else:
            values = _from_json(tensor, rows)
        if tensor.datatype == TEXT and tensor.name in features and features[tensor.name].nullable:
            # A missing text, which the protocol can only send as "".
            values = [text or None for text in values]
        columns[tensor.name] = values
    if start != len(binary):
        raise RefusedError(422, f"{INVALID} {len(binary) - start} bytes belong to no tensor.")
    return columns


def _rows(tensor: InferInput) -> int:
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]) or tensor.shape[0] < 0:
        raise _wrong(tensor, "The shape should be [rows] or [rows, 1]")
    if tensor.datatype not in NUMERIC and tensor.datatype != TEXT:
        raise _wrong(tensor, f"The datatype should be {', '.join([*NUMERIC, TEXT])}")
    return tensor.shape[0]


def _size(tensor: InferInput, size: Any) -> int:
    if type(size) is not int or size < 0:
        raise _wrong(tensor, "binary_data_size should be a number of bytes")
    return size


def _from_bytes(tensor: InferInput, rows: int, raw: bytes) -> Numbers | Texts:
    if tensor.datatype == TEXT:
        texts = _split(tensor, raw)
        _require_length(tensor, rows, len(texts))
        return texts
    dtype = np.dtype(NUMERIC[tensor.datatype])
    if len(raw) != rows * dtype.itemsize:
        raise _wrong(tensor, f"{rows} values of {tensor.datatype} are not {len(raw)} bytes")
    # A byte that is neither 0 nor 1 would make a boolean that is neither.
    return np.frombuffer(raw, np.uint8 if dtype == np.bool_ else dtype).astype(dtype, copy=False)


def _split(tensor: InferInput, raw: bytes) -> list[str]:
    """Return texts, each of which follows its length in 4 bytes."""
    texts, start = [], 0
    try:
        while start < len(raw):
            (size,) = struct.unpack_from("<I", raw, start)
            start += 4 + size
            texts.append(raw[start - size : start].decode())
    except (struct.error, UnicodeDecodeError):
        raise _wrong(tensor, "The texts are not UTF-8, each behind its length") from None
    if start != len(raw):
        raise _wrong(tensor, "The last text is shorter than its length")
    return texts


def _from_json(tensor: InferInput, rows: int) -> Numbers | Texts:
    data = tensor.data
    if data is None:
        raise _wrong(tensor, "There is neither data nor binary_data_size")
    if data and all(isinstance(value, list) for value in data):
        data = list(chain.from_iterable(data))
    _require_length(tensor, rows, len(data))
    kinds = {type(value) for value in data}
    if tensor.datatype == TEXT:
        if not kinds <= {str, type(None)}:
            raise _wrong(tensor, "Input should be text")
        return data
    if not kinds <= _IN_JSON[tensor.datatype]:
        raise _wrong(tensor, f"Input should be of type {tensor.datatype}")
    return _to_array(tensor, data)


def _to_array(tensor: InferInput, data: list[Any]) -> npt.NDArray[Any]:
    try:
        with np.errstate(over="ignore"):  # infinite then, and refused by the bounds
            return np.array(data, NUMERIC[tensor.datatype])
    except OverflowError:
        raise _wrong(tensor, f"A number is too large for {tensor.datatype}") from None


def _require_length(tensor: InferInput, rows: int, length: int) -> None:
    if length != rows:
        raise _wrong(tensor, f"The shape says {rows} values, not {length}", "length")


def _wrong(tensor: InferInput, message: str, reason: Reason = "type") -> RefusedError:
    return RefusedError(422, INVALID, [Problem(field=tensor.name, message=message, reason=reason)])
