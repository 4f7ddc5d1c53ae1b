"""Each row of a file is read or listed, whatever is wrong with its neighbours."""

import gzip
import io
import json
import uuid
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import IO, Any, cast

import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from ml_chassis.data import DataError, formats
from ml_chassis.data.formats import (
    Block,
    Broken,
    as_text,
    read_csv,
    read_json_lines,
    read_parquet,
    read_table,
)
from ml_chassis.data.tables import Csv

Rows = list[tuple[int, Any]]


def csv_of(content: str | bytes, dialect: Csv | None = None) -> tuple[Rows, list[Broken]]:
    """Return the rows of CSV with their numbers, and what is broken."""
    sent = content.encode() if isinstance(content, str) else content
    return split(read_csv(io.BytesIO(sent), list, dialect or Csv()))


def json_of(content: bytes) -> tuple[Rows, list[Broken]]:
    return split(map(as_text, read_json_lines(io.BytesIO(content))))


def split(blocks: Iterable[Block]) -> tuple[Rows, list[Broken]]:
    rows, broken = Rows(), list[Broken]()
    for block in blocks:
        rows += zip(block.positions.to_list(), block.rows.rows(), strict=True)
        broken += block.broken
    return rows, broken


def numbers(broken: list[Broken]) -> list[int]:
    return [each.position for each in broken]


def test_an_open_quote_swallows_no_rows() -> None:
    rows, broken = csv_of('a,b\n1,ok\n2,"open\n3,ok\n4,ok\n')

    assert rows == [(1, ("1", "ok")), (3, ("3", "ok")), (4, ("4", "ok"))]
    assert broken == [
        Broken(2, "not CSV, as quotes do not match: unexpected end of data", '2,"open\n')
    ]


@pytest.mark.parametrize(
    ("lines", "good", "bad"),
    [
        (['1,"a"b', "2,x"], [2], [1]),
        (['1,"a', '2,"b', "3,x"], [3], [1, 2]),
        (['1,"a', "2,x", '3,"b",', '4,"c"'], [2, 4], [1, 3]),
        (['1,"a', 'b"', "3,x"], [1, 2], []),
        (['1,"a', 'b",c', "3,x"], [2], [1]),
        (["1,a", "", ",", "4,b"], [1, 4], []),
        (["1,a", "2", "3,a,b", "4,b"], [1, 4], [2, 3]),
        (["1,a", "2,b\rc", "3,d"], [1, 2, 4], [3]),
        (["1, a", ' 2 , "b,c"'], [1, 2], []),
        (["1,a\0b", "2,\u2028\x85"], [1, 2], []),
    ],
)
def test_every_record_of_csv_is_accounted_for(
    lines: list[str], good: list[int], bad: list[int]
) -> None:
    for end in ("\n", "\r\n"):
        rows, broken = csv_of(end.join(["a,b", *lines]))

        assert [position for position, _ in rows] == good
        assert numbers(broken) == bad


CELLS = st.text(st.sampled_from('ab1,"\n ;\u2028é'), max_size=4)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=8), st.integers(4, 40))
def test_what_polars_wrote_is_read_in_pieces_of_any_size(
    cells: list[tuple[str, str]], size: int
) -> None:
    table = pl.DataFrame(cells, {"a": pl.String, "b": pl.String}, orient="row")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "BLOCK_BYTES", size)
        patch.setattr(formats, "BLOCK_ROWS", 2)
        rows, broken = csv_of(table.write_csv(quote_style="non_numeric"))

    filled = [tuple(value or None for value in row) for row in cells if any(row)]
    assert [row for _, row in rows] == filled
    assert broken == []


@given(st.text(st.sampled_from('a1,"\n'), max_size=60))
def test_nothing_vanishes_from_damaged_csv(content: str) -> None:
    rows, broken = csv_of(f"x,y\n{content}")

    kept = "".join(str(row) for row in rows) + "".join(each.content for each in broken)
    assert kept.count("a") >= content.count("a")
    assert kept.count("1") >= content.count("1")


def test_the_quick_way_reads_what_the_careful_one_reads() -> None:
    lines = ["a,b,c", *(f"{n},x{n % 7}," for n in range(300)), ",,", "1,\t,3", "é,ü,ß"]
    for end in ("\n", "\r\n"):
        plain = end.join(lines) + end
        quoted = plain + f'"q",,{end}'

        rows, broken = csv_of(quoted)
        assert csv_of(plain) == (rows[:-1], broken)
        assert len(rows) == 303


def test_csv_without_rows_has_columns() -> None:
    (block,) = read_csv(io.BytesIO(b"\xef\xbb\xbfa,b\n"), list, Csv(encoding="utf-8"))

    assert block.rows.columns == ["a", "b"]
    assert csv_of("") == ([], [])


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b'"a,b\n1,2\n', "utf-8", "the header is not CSV, as quotes do not match"),
        (b"a\n" + b"x\n" * 9 + b"\xff\n", "utf-8", "byte 21, in line 11, is not utf-8"),
        (b"a", "utf-99", "there is no encoding 'utf-99'"),
        (b"a", "hex", "there is no encoding 'hex'"),
        (b"a,b", "utf-16", "the file is not utf-16"),
    ],
)
def test_what_is_wrong_with_all_of_a_file_is_told(
    content: bytes, encoding: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "BLOCK_BYTES", 8)
    with pytest.raises(DataError, match=message):
        csv_of(content, Csv(encoding=encoding))


def test_other_encodings_and_line_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "BLOCK_BYTES", 5)
    for encoding in ("utf-16", "utf-16-le", "cp1252"):
        content = "a;b\r1;ü\r2;x\r".encode(encoding)
        rows, broken = csv_of(content, Csv(delimiter=";", encoding=encoding))

        assert ([row for _, row in rows], broken) == ([("1", "ü"), ("2", "x")], [])


def test_a_long_document_is_a_value() -> None:
    rows, broken = csv_of(f'a,b\n1,"{"x" * 200_000}"\n')

    assert (len(rows), broken) == (1, [])


def test_only_a_line_feed_ends_a_line_of_json() -> None:
    names = ["a\u2028b", "a\u0085b", "a\x0bb", "\u2029"]
    content = "".join(json.dumps({"name": name}, ensure_ascii=False) + "\n" for name in names)

    rows, broken = json_of(b"\xef\xbb\xbf" + content.encode())

    assert rows == [(at, (name,)) for at, name in enumerate(names, 1)]
    assert broken == []


@pytest.mark.parametrize(
    "line",
    [
        b'{"a": 1',
        b"[1]",
        b"1",
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
    ],
)
def test_a_line_that_is_no_object_is_broken_alone(line: bytes) -> None:
    rows, broken = json_of(b'{"a": "x"}\n\n' + line + b'\r\n{"a": "y"}')

    assert rows == [(1, ("x",)), (4, ("y",))]
    assert numbers(broken) == [3]
    assert broken[0].content == line.decode(errors="backslashreplace")


def test_a_line_is_one_object() -> None:
    rows, broken = json_of(b'{"a": 1} {"a": 2}\n\n{"a": 3}\n{}\n')

    assert rows == [(3, ("3",))]
    assert numbers(broken) == [1, 4]


def test_quotes_that_never_end_take_no_time_without_end() -> None:
    rows, broken = csv_of("a,b\n" + 'x","\n' * 20_000 + "1,2\n")

    assert len(rows) + len(broken) > 1_000  # none of them takes all


def test_gzip_of_several_members_is_one_file() -> None:
    content = gzip.compress(b'{"a": 1}\n') + gzip.compress(b'{"a": 2}\n')
    with gzip.open(io.BytesIO(content)) as file:
        rows, _ = split(map(as_text, read_json_lines(cast(IO[bytes], file))))

    assert [row for _, row in rows] == [("1",), ("2",)]


def test_parquet_without_rows_has_columns() -> None:
    file = io.BytesIO()
    pl.DataFrame({"a": [1]}).clear().write_parquet(file)

    (block,) = read_parquet(file.getvalue())

    assert block.rows.schema == {"a": pl.Int64}


def test_columns_of_a_database_that_polars_knows_not_are_text() -> None:
    name = uuid.uuid4()
    row = {
        "id": 1,
        "name": name,
        "more": {"ü": [1, None]},
        "bytes": b"\x00\xff",
        "price": Decimal("1.5"),
        "day": date(2026, 1, 31),
        "odd": None,
    }
    table = sa.Table(
        "t",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Uuid),
        sa.Column("more", sa.JSON),
        sa.Column("bytes", sa.LargeBinary),
        sa.Column("price", sa.Numeric),
        sa.Column("day", sa.Date),
        sa.Column("odd", sqlite.INTEGER),
    )
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        table.create(connection)
        (empty,) = read_table(connection, table)
        connection.execute(sa.insert(table), row)
        connection.execute(sa.text("INSERT INTO t (id, odd) VALUES (2, 'x')"))

        (block,) = read_table(connection, table)

    assert empty.rows.columns == block.rows.columns
    first, second = block.rows.to_dicts()
    assert first == row | {"name": str(name), "more": '{"ü": [1, null]}', "bytes": "00ff"} | {
        "price": "1.5000000000"
    }
    assert second["odd"] == "x"
    assert empty.rows.schema["day"] == pl.Date
