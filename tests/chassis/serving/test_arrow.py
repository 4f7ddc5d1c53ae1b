"""Arrow streams as Polars and nanoarrow write them are read whole; all others are refused."""

import io
import json
import math
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import flatbuffers
import httpx
import nanoarrow
import numpy as np
import polars as pl
import pytest
from flatbuffers import number_types
from flatbuffers.table import Table as Flat
from hypothesis import given, settings
from hypothesis import strategies as st
from nanoarrow import ipc

from chassis.flights import CONTRACT, DECODER, TABLES
from chassis.rows import (
    FIRST,
    OPTIONAL,
    REQUIRED,
    ROW,
    ROWS,
    WRONG,
    Wrong,
    any_rows,
    flat,
    in_json,
    needs,
)
from ml_chassis.serving import arrow_reader
from ml_chassis.serving.arrow_reader import ARROW, MAX_BATCHES, read_stream
from ml_chassis.serving.arrow_writer import StreamWriter
from ml_chassis.serving.messages import RefusedError
from ml_chassis.settings import Settings
from ml_chassis.testing import Trained

CATEGORICAL = CONTRACT.categorical
NUMERIC = CONTRACT.numeric
PREDICTION_COLUMNS = CONTRACT.prediction_columns
WIDTH = CONTRACT.width
to_arrays = CONTRACT.to_arrays

LEVELS = [pl.CompatLevel.oldest(), pl.CompatLevel.newest()]
"""Polars writes text in one of two ways: one behind the other, or as views."""


def frame(sent: list[dict[str, Any]]) -> pl.DataFrame:
    """Return rows as a data frame; NaN becomes null."""
    types = {name: pl.String if name in CATEGORICAL else pl.Float64 for name in ROW}
    return pl.DataFrame(sent, schema=types, orient="row").fill_nan(None)


def by_polars(sent: pl.DataFrame, level: Any = LEVELS[0], **options: Any) -> bytes:
    stream = io.BytesIO()
    sent.write_ipc_stream(stream, compat_level=level, **options)
    return stream.getvalue()


def by_nanoarrow(columns: dict[str, tuple[list[Any], Any]], batches: int = 1) -> bytes:
    """Return columns, each with its values and its type, as a stream."""
    stream = io.BytesIO()
    children = [nanoarrow.c_array(values, kind) for values, kind in columns.values()]
    types = nanoarrow.struct({name: kind for name, (_, kind) in columns.items()})
    length = len(next(iter(columns.values()))[0])
    table = nanoarrow.c_array_from_buffers(types, length=length, buffers=[], children=children)
    with ipc.StreamWriter.from_writable(stream) as writer:
        for _ in range(batches):
            writer.write_array(table)
    return stream.getvalue()


def typed(row: dict[str, Any]) -> dict[str, tuple[list[Any], Any]]:
    return {
        name: ([value], nanoarrow.string() if name in CATEGORICAL else nanoarrow.float32())
        for name, value in row.items()
    }


@settings(max_examples=300)
@given(st.lists(any_rows, min_size=1, max_size=3), st.sampled_from(LEVELS))
def test_arrow_and_json_come_to_the_same_verdict(sent: list[dict[str, Any]], level: Any) -> None:
    body = json.dumps({"rows": [in_json(row) for row in sent]}).encode()
    try:
        expected = to_arrays(DECODER.decode(body, max_rows=10))
    except RefusedError as refused:
        with pytest.raises(RefusedError) as error:
            TABLES.check(read_stream(CONTRACT, by_polars(frame(sent), level), 10), 10)
        assert {(each.row, each.field) for each in error.value.refusal.problems} == {
            (each.row, each.field) for each in refused.refusal.problems
        }
    else:
        table = TABLES.check(read_stream(CONTRACT, by_polars(frame(sent), level), 10), 10)
        np.testing.assert_array_equal(table.numeric, expected[0])
        np.testing.assert_array_equal(table.categorical, expected[1])


@pytest.mark.parametrize(
    "kind",
    [
        *(pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64),
        *(pl.Float32, pl.Float64, pl.Boolean),
    ],
    ids=str,
)
@pytest.mark.parametrize("values", [[1, 0, 1], [1, None, 0], [None] * 3, [1] * 17], ids=str)
def test_every_kind_of_number_is_read(kind: Any, values: list[Any]) -> None:
    stream = by_polars(pl.DataFrame({FIRST: pl.Series(values).cast(kind)}))

    read = np.asarray(read_stream(CONTRACT, stream, 100)[FIRST], np.float64)

    np.testing.assert_array_equal(read, np.array(values, np.float64))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "values",
    [
        ["UA", "", "AA"],
        ["UA", None, "AA"],
        [None, None],
        ["x" * 12, "x" * 13, "y" * 1_000],
        ["ÄÖÜ", "日本語" * 9, "😀"],
        ["é" * 500, None, ""] * 30,
    ],
    ids=lambda values: str(values)[:20],
)
def test_every_text_is_read(level: Any, values: list[str | None]) -> None:
    stream = by_polars(pl.DataFrame({FIRST: pl.Series(values, dtype=pl.String)}), level)

    assert read_stream(CONTRACT, stream, 100) == {FIRST: values}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", [pl.Categorical, pl.Enum(["AA", "UA", "x" * 13])], ids=str)
@pytest.mark.parametrize("values", [["UA", None, "UA", "x" * 13], [None], []], ids=str)
def test_a_dictionary_is_read(level: Any, kind: Any, values: list[str | None]) -> None:
    stream = by_polars(pl.DataFrame({FIRST: pl.Series(values, dtype=kind)}), level)

    assert read_stream(CONTRACT, stream, 100) == {FIRST: values}


DICTIONARY = by_polars(pl.DataFrame({FIRST: pl.Series(["UA", "AA"], dtype=pl.Enum(["UA", "AA"]))}))


def test_rows_that_are_all_missing_need_no_dictionary() -> None:
    whole = by_polars(pl.DataFrame({FIRST: pl.Series([None], dtype=pl.Enum(["UA"]))}))
    (schema, _, *batches), end = messages(whole), whole[-8:]

    assert read_stream(CONTRACT, b"".join([schema, *batches, end]), 100) == {FIRST: [None]}


def test_values_that_follow_or_replace_others_are_read() -> None:
    def parts(*values: str) -> list[bytes]:
        kind = pl.Enum(values)
        return messages(by_polars(pl.DataFrame({FIRST: pl.Series(values, dtype=kind)})))

    (schema, first, rows), (_, other, _) = parts("UA", "AA"), parts("BB", "CC")

    stream = b"".join([schema, first, rows, other, rows, GOOD[-8:]])
    assert read_stream(CONTRACT, stream, 100) == {FIRST: ["UA", "AA", "BB", "CC"]}
    assert read_stream(CONTRACT, as_delta(stream, other), 100) == {FIRST: ["UA", "AA", "UA", "AA"]}


def messages(stream: bytes) -> list[bytes]:
    """Return the messages of a stream, without its end."""
    begins = [at for at in range(0, len(stream) - 8, 8) if stream[at : at + 4] == b"\xff" * 4]
    begins = [at for at in begins if stream[at + 4 : at + 8] != bytes(4)]
    return [stream[begin:end] for begin, end in pairwise([*begins, len(stream) - 8])]


def header_of(metadata: bytes) -> Flat:
    """Return the part of a message's metadata that depends on its kind."""
    return arrow_reader._child(Flat(metadata, int.from_bytes(metadata[:4], "little")), 2)


def as_delta(stream: bytes, batch: bytes) -> bytes:
    """Return a stream in which the values of a batch follow those before."""
    size = int.from_bytes(batch[4:8], "little")
    header, body = header_of(batch[8 : 8 + size]), batch[8 + size :]
    values = arrow_reader._child(header, 1)
    builder = flatbuffers.Builder()
    vectors = {}
    for slot in (1, 2):
        pairs = arrow_reader._pairs(values, slot).tolist()
        builder.StartVector(16, len(pairs), 8)
        for first, second in reversed(pairs):
            builder.Prep(8, 16)
            builder.PrependInt64(second)
            builder.PrependInt64(first)
        vectors[slot] = builder.EndVector()
    builder.StartObject(5)
    builder.PrependInt64Slot(0, values.GetSlot(4, 0, number_types.Int64Flags), 0)
    for slot, vector in vectors.items():
        builder.PrependUOffsetTRelativeSlot(slot, vector, 0)
    data = builder.EndObject()
    builder.StartObject(3)
    builder.PrependInt64Slot(0, header.GetSlot(4, 0, number_types.Int64Flags), 0)
    builder.PrependUOffsetTRelativeSlot(1, data, 0)
    builder.PrependBoolSlot(2, True, False)
    dictionary = builder.EndObject()
    builder.StartObject(5)
    builder.PrependUint8Slot(1, arrow_reader.DICTIONARY_BATCH, 0)
    builder.PrependUOffsetTRelativeSlot(2, dictionary, 0)
    builder.PrependInt64Slot(3, len(body), 0)
    builder.Finish(builder.EndObject())
    metadata = bytes(builder.Output())
    metadata += bytes(-len(metadata) % 8)
    return stream.replace(batch, struct.pack("<Ii", 0xFFFFFFFF, len(metadata)) + metadata + body)


@pytest.mark.parametrize("kind", [arrow_reader.NULL, arrow_reader.BOOL])
def test_a_dictionary_of_values_without_a_size_is_refused(kind: int) -> None:
    metadata = DICTIONARY[8 : 8 + int.from_bytes(DICTIONARY[4:8], "little")]
    schema = header_of(metadata)
    start, _ = arrow_reader._vector(schema, 1)
    field = Flat(metadata, schema.Indirect(start))
    at = 8 + field.Pos + field.Offset(8)

    with pytest.raises(RefusedError) as error:
        read_stream(CONTRACT, DICTIONARY[:at] + bytes([kind]) + DICTIONARY[at + 1 :], 100)
    assert "A dictionary should hold numbers or text" in error.value.refusal.text


def test_an_index_outside_of_its_dictionary_is_refused() -> None:
    at = DICTIONARY.rindex(b"\0\1")

    for wrong in (2, 255):
        damaged = DICTIONARY[: at + 1] + bytes([wrong]) + DICTIONARY[at + 2 :]
        with pytest.raises(RefusedError, match="an index lies outside its dictionary"):
            read_stream(CONTRACT, damaged, 100)


def test_a_long_text_that_many_rows_share_is_refused() -> None:
    text = "x" * 10_000

    def sent(rows: int) -> bytes:
        return by_polars(pl.DataFrame({FIRST: pl.Series([text] * rows, dtype=pl.Enum([text]))}))

    assert read_stream(CONTRACT, sent(60), 1_000) == {FIRST: [text] * 60}
    with pytest.raises(RefusedError, match="Send long texts as text"):
        read_stream(CONTRACT, sent(1_000), 1_000)


def test_text_with_short_offsets_is_read() -> None:
    values = ["UA", None, "日本"]

    stream = by_nanoarrow({FIRST: (values, nanoarrow.string())})

    assert read_stream(CONTRACT, stream, 100) == {FIRST: values}


def test_a_column_of_nothing_is_missing() -> None:
    nothing = pl.DataFrame({name: [None] for name in ROW})
    assert set(nothing.dtypes) == {pl.Null}

    columns = read_stream(CONTRACT, by_polars(nothing), 100)

    assert all(columns[name] == [None] for name in CATEGORICAL)
    assert all(np.isnan(np.asarray(columns[name])).all() for name in NUMERIC)


def test_batches_are_read_one_behind_the_other() -> None:
    columns = read_stream(CONTRACT, by_nanoarrow(typed(ROW), batches=3), 100)

    for name, value in ROW.items():
        assert list(columns[name]) == pytest.approx([value] * 3)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_what_is_written_others_can_read(rows: int) -> None:
    ids = [f"ä-{row}" for row in range(rows)]
    predictions = (np.arange(rows * len(PREDICTION_COLUMNS)) / 8).reshape(rows, *WIDTH)
    by_column = predictions.reshape(rows, len(PREDICTION_COLUMNS)).T.tolist()

    stream = StreamWriter(CONTRACT).write(predictions.tolist(), ids)

    assert pl.read_ipc_stream(stream).to_dict(as_series=False) == {
        **dict(zip(PREDICTION_COLUMNS, by_column, strict=True)),
        "prediction_id": ids,
    }
    assert len(nanoarrow.ArrayStream.from_readable(stream).read_all()) == rows


GOOD = by_polars(pl.DataFrame([ROW]))
CATEGORICALS = pl.DataFrame([ROW] * 3).cast(dict.fromkeys(CATEGORICAL, pl.Categorical))
STREAMS = [
    GOOD,
    by_polars(pl.DataFrame([ROW] * 3), LEVELS[1]),
    by_nanoarrow(typed(ROW), 2),
    *(by_polars(CATEGORICALS, level) for level in LEVELS),
]


def many(count: int) -> pl.DataFrame:
    return pl.DataFrame({FIRST: ["UA"] * count})


@pytest.mark.parametrize(
    ("stream", "status", "said"),
    [
        (b"", 400, "no schema"),
        (b"{}", 400, "no Arrow stream"),
        (b"ARROW1\0\0" + GOOD, 400, "where one should begin"),
        (GOOD[8:], 400, "where one should begin"),
        (GOOD[:-9], 400, "ends too early"),
        (GOOD[: len(GOOD) // 2], 400, "ends too early"),
        (GOOD + b"x", 400, "follows its end"),
        (GOOD + GOOD, 400, "follows its end"),
        (by_polars(many(3), compression="zstd"), 422, "uncompressed"),
        (by_polars(many(3), compression="lz4"), 422, "uncompressed"),
        (by_polars(pl.DataFrame({FIRST: [["UA"]]})), 422, FIRST),
        (by_polars(pl.DataFrame({FIRST: [{"a": 1}]})), 422, FIRST),
        (by_polars(pl.DataFrame({FIRST: [b"UA"]})), 422, FIRST),
        (
            by_polars(pl.DataFrame({FIRST: pl.Series(["1.5"]).str.to_decimal(scale=1)})),
            422,
            FIRST,
        ),
        (by_polars(pl.DataFrame({FIRST: pl.Series([1]).cast(pl.Datetime)})), 422, FIRST),
        (by_nanoarrow({FIRST: ([1.0], nanoarrow.float16())}), 422, FIRST),
        (by_polars(pl.DataFrame({"x" * 5_000: [1]})), 422, "no such feature"),
        (by_polars(pl.DataFrame({str(at): [1] for at in range(99)})), 422, "no such feature"),
        (by_polars(many(101)), 422, "100 rows at most"),
        (by_nanoarrow({FIRST: ([], nanoarrow.string())}, MAX_BATCHES + 1), 422, "batches"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_table_is_refused(stream: bytes, status: int, said: str) -> None:
    with pytest.raises(RefusedError) as error:
        read_stream(CONTRACT, stream, 100)

    assert error.value.status == status
    assert said in error.value.refusal.text
    assert len(error.value.refusal.text) < 500


def test_a_stream_of_millions_of_rows_in_few_bytes_is_refused() -> None:
    nothing = by_polars(pl.DataFrame({FIRST: [None]}))
    length = struct.pack("<q", 1)

    for count, said in ((10**12, "Too many rows"), (-1, "negative")):
        with pytest.raises(RefusedError, match=said):
            read_stream(CONTRACT, nothing.replace(length, struct.pack("<q", count)), 100)


def test_many_views_of_one_long_text_are_refused() -> None:
    stream = by_polars(pl.DataFrame({FIRST: ["a" * 5_000, "b" * 5_000]}), LEVELS[1])
    first, second = (stream.index(struct.pack("<i", 5_000) + 4 * each) for each in (b"a", b"b"))
    view = stream[first : first + 16]

    repeated = stream[:second] + view + stream[second + 16 :]
    twice = by_polars(pl.DataFrame({FIRST: ["a" * 5_000] * 2}), LEVELS[1])

    assert read_stream(CONTRACT, twice, 100) == {FIRST: ["a" * 5_000] * 2}
    assert read_stream(CONTRACT, repeated, 100) == {FIRST: ["a" * 5_000] * 2}
    with pytest.raises(RefusedError, match="outside"):
        read_stream(
            CONTRACT, repeated.replace(struct.pack("<q", 5_000), struct.pack("<q", 4_999)), 100
        )


@settings(max_examples=1_000)
@given(st.sampled_from(STREAMS), st.data())
def test_a_damaged_stream_is_read_or_refused(stream: bytes, data: st.DataObject) -> None:
    damaged = bytearray(stream)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        size = data.draw(st.integers(0, 9))
        damaged[at : at + size] = data.draw(st.binary(max_size=9))

    try:
        TABLES.check(read_stream(CONTRACT, bytes(damaged), 100), 100)
    except RefusedError as error:
        assert len(error.refusal.text) < 10_000


@given(st.binary(max_size=300))
def test_bytes_that_are_no_stream_are_refused(body: bytes) -> None:
    with pytest.raises(RefusedError):
        read_stream(CONTRACT, body, 100)


def post(client: httpx.Client, body: bytes, accept: str = "*/*") -> httpx.Response:
    headers = {"Content-Type": ARROW, "Accept": accept}
    return client.post("/predict", content=body, headers=headers)


def test_arrow_is_answered_as_json_is(client: httpx.Client, trained: Trained) -> None:
    sent = ROWS
    expected = client.post("/predict", json={"rows": sent}).json()["predictions"]

    answer = post(client, by_polars(pl.DataFrame(sent))).raise_for_status().json()
    stream = post(client, by_polars(pl.DataFrame(sent)), ARROW).raise_for_status()
    from_json = client.post("/predict", json={"rows": sent}, headers={"Accept": ARROW})

    assert answer["predictions"] == expected
    assert answer["model_version"] == trained.manifest.version
    for each in (stream, from_json):
        assert each.headers["content-type"] == ARROW
        assert each.headers["model-version"] == trained.manifest.version
        table = pl.read_ipc_stream(each.content)
        assert flat(table.select(PREDICTION_COLUMNS).rows()) == flat(expected)
        assert table["prediction_id"].n_unique() == 2


def test_more_rows_are_answered_than_in_json(client: httpx.Client) -> None:
    count = Settings().max_rows * 5
    numbers = pl.DataFrame([ROW] * count).cast(dict.fromkeys(NUMERIC, pl.Float32))

    table = pl.read_ipc_stream(post(client, by_polars(numbers), ARROW).raise_for_status().content)

    assert len(table) == count
    assert all(table[name].n_unique() == 1 for name in PREDICTION_COLUMNS)


@pytest.mark.parametrize(
    "wrong", [each for each in WRONG if each.of_its_type], ids=lambda each: str(each[:2])
)
def test_a_bad_value_is_refused_by_row_and_field(client: httpx.Client, wrong: Wrong) -> None:
    response = post(client, by_polars(pl.DataFrame([ROW, wrong.row])))

    assert response.status_code == 422
    (problem,) = response.json()["problems"]
    assert (problem["row"], problem["field"]) == (1, wrong.field)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda sent: sent.with_columns(invented=pl.lit(1)), "invented"),
        pytest.param(lambda sent: sent.drop(REQUIRED), REQUIRED, marks=needs(REQUIRED)),
        (lambda sent: sent.clear(), None),
    ],
)
def test_a_bad_table_is_refused_by_field(
    client: httpx.Client, change: Callable[[pl.DataFrame], pl.DataFrame], field: str | None
) -> None:
    response = post(client, by_polars(change(pl.DataFrame([ROW, ROW]))))

    assert response.status_code == 422
    problem = response.json()["problems"][0]
    assert (problem["row"], problem["field"]) == (None, field)


def test_a_body_that_is_too_long_is_refused(client: httpx.Client) -> None:
    assert post(client, b"\xff" * (Settings().max_body_bytes + 1)).status_code == 413


@needs(OPTIONAL)
def test_a_missing_number_may_be_nan(client: httpx.Client) -> None:
    null, nan = (pl.DataFrame([{**ROW, OPTIONAL: each}]) for each in (None, math.nan))

    answers = [post(client, by_polars(each)).raise_for_status().json() for each in (null, nan)]

    assert answers[0]["predictions"] == answers[1]["predictions"]
