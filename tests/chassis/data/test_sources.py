"""Rows come from files, databases and other services, whatever state those are in."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from ml_chassis.data import DataError
from ml_chassis.data.sources import Chunk, header, read
from ml_chassis.data.tables import POSITION, Csv
from servers import Handler, running_server

ROWS: list[dict[str, Any]] = [{"origin": "EWR", "temp": "39.0"}, {"origin": "JFK", "temp": None}]
CSV = "\ufefforigin,temp\nEWR,39.0\nJFK,\n"
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def only(chunks: Iterator[Chunk]) -> Chunk:
    (chunk,) = chunks
    return chunk


def rows(chunk: Chunk) -> list[dict[str, Any]]:
    """Return the rows with empty text as missing, which is how it is read."""
    found = chunk.rows.sort(POSITION).drop(POSITION).to_dicts()
    return [{name: value or None for name, value in row.items()} for row in found]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV.encode()),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("a.jsonl", LINES.encode()),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
    ],
)
def test_a_file_is_read_by_its_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    chunk = only(read(str(tmp_path / name), {}))

    assert rows(chunk) == ROWS
    assert chunk.rows[POSITION].to_list() == [1, 2]
    assert list(read(str(tmp_path / name), {chunk.origin: chunk.fingerprint})) == []


def test_a_folder_or_a_pattern_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / name).write_text(CSV)

    for address in (tmp_path, tmp_path / "*.csv"):
        assert [Path(chunk.origin).name for chunk in read(str(address), {})] == ["a.csv", "b.csv"]


def test_a_hidden_file_is_no_source_and_a_name_is_no_pattern(tmp_path: Path) -> None:
    for name in ("._a.csv", "a[1].csv", "a1.csv", "*.csv"):
        (tmp_path / name).write_text(CSV)
    (tmp_path / "folder.csv").mkdir()

    for address, names in {
        "": ["*.csv", "a1.csv", "a[1].csv"],
        "a[1].csv": ["a[1].csv"],
        "*.csv": ["*.csv"],
        "a*.csv": ["a1.csv", "a[1].csv"],
    }.items():
        assert [Path(each.origin).name for each in read(str(tmp_path / address), {})] == names


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    pl.DataFrame({"temp": [39.0]}).write_parquet(tmp_path / "a.parquet")

    assert only(read(str(tmp_path / "a.parquet"), {})).rows["temp"].dtype == pl.Float64


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([" a ", "b c"], ["a", "b c"]),
        (["", "a", " "], ["column_1", "a", "column_3"]),
        (["a", "A", "a", "a_2"], ["a", "A_2", "a_3", "a_2_2"]),
        (["position", "row_position"], ["position", "row_position_2"]),
        (["größe (m²)", "100 %"], ["größe (m²)", "100 %"]),
    ],
)
def test_columns_have_different_names(given: list[str], expected: list[str]) -> None:
    assert header(given) == expected


def test_a_dialect_is_read_and_what_is_blank_is_no_row(tmp_path: Path) -> None:
    content = '\n \nort; °C ;\n\nZürich;"3;0";x\n;;\n  \nBrüssel; "4";\n'
    (tmp_path / "a.csv").write_bytes(content.encode("cp1252"))

    chunk = only(read(str(tmp_path / "a.csv"), {}, Csv(delimiter=";", encoding="cp1252")))

    assert rows(chunk) == [
        {"ort": "Zürich", "°C": "3;0", "column_3": "x"},
        {"ort": "Brüssel", "°C": "4", "column_3": None},
    ]
    assert chunk.broken == []


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        (
            "utf-8",
            "a.csv: byte 8, in line 2, is not utf-8: save the file as UTF-8, or say in the raw",
        ),
        (
            "latin-9000",
            "a.csv: there is no encoding 'latin-9000': correct `encoding` in the raw table",
        ),
    ],
)
def test_a_wrong_encoding_is_told(tmp_path: Path, encoding: str, message: str) -> None:
    (tmp_path / "a.csv").write_bytes("ort\nBerü\n".encode("cp1252"))

    with pytest.raises(DataError, match=re.escape(message)):
        list(read(str(tmp_path / "a.csv"), {}, Csv(encoding=encoding)))


def test_lines_that_are_no_rows_are_kept_with_their_position(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('origin,temp\nEWR\n"JFK",1\nLGA,2,3\n')

    chunk = only(read(str(tmp_path / "a.csv"), {}))

    assert rows(chunk) == [{"origin": "JFK", "temp": "1"}]
    assert [(each.position, each.reason) for each in chunk.broken] == [
        (1, "1 values in a table of 2 columns"),
        (3, "3 values in a table of 2 columns"),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.parquet", b"PAR1"), ("a.csv", b"caf\xe9\n\xff"), ("a.csv.gz", b"no"), ("a.txt", b"")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError, match=name):
        list(read(str(tmp_path / name), {}))


def test_a_table_of_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/weather.db"
    with sa.create_engine(url).begin() as connection:
        connection.execute(sa.text("CREATE TABLE weather (origin TEXT, temp TEXT)"))
        connection.execute(sa.text("INSERT INTO weather VALUES (:origin, :temp)"), ROWS)
    address = f"{url}?table=weather"

    chunk = only(read(address, {}))

    assert rows(chunk) == ROWS
    assert list(read(address, {chunk.origin: chunk.fingerprint})) == []
    with pytest.raises(DataError, match="no table wether"):
        list(read(f"{url}?table=wether", {}))
    with pytest.raises(DataError, match=r"\?table=NAME"):
        list(read(url, {}))


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "shop.db"

    with pytest.raises(DataError, match="there is no file .*shop.db"):
        list(read(f"sqlite:///{missing}?table=orders", {}))

    assert not missing.exists()


def test_a_database_may_be_named_by_its_uri(tmp_path: Path) -> None:
    with sa.create_engine(f"sqlite:///{tmp_path}/weather.db").begin() as connection:
        connection.execute(sa.text("CREATE TABLE weather (origin TEXT)"))
        connection.execute(sa.text("INSERT INTO weather VALUES ('JFK')"))

    address = f"sqlite:///file:{tmp_path}/weather.db?mode=ro&uri=true&table=weather"

    assert rows(only(read(address, {}))) == [{"origin": "JFK"}]


def test_a_password_is_not_shown() -> None:
    with pytest.raises(DataError) as raised:
        list(read("postgresql+psycopg://me:secret@127.0.0.1:1/db?table=x", {}))

    assert "secret" not in str(raised.value)
    assert "127.0.0.1" in str(raised.value)


class Weather(Handler):
    """Answers two pages; the first attempt of each fails."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/nothing":
            self.send_error(404)
        elif self.asked.count(self.path) == 1:
            self.send_error(503)
        else:
            body = "\ufeff" + (json.dumps(ROWS) if self.path == "/1" else LINES)
            self.send_response(200)
            if self.path == "/1":
                self.send_header("Link", '</2>; rel="next"')
            self.end_headers()
            self.wfile.write(body.encode())


@pytest.fixture
def weather() -> Iterator[str]:
    Weather.asked = []
    with running_server(Weather) as url:
        yield url


def test_pages_are_followed_and_asked_for_again(weather: str) -> None:
    chunks = list(read(f"{weather}/1", {}))

    assert [chunk.origin for chunk in chunks] == [f"{weather}/1", f"{weather}/2"]
    assert [rows(chunk) for chunk in chunks] == [ROWS, ROWS]
    assert Weather.asked == ["/1", "/1", "/2", "/2"]
    assert list(read(f"{weather}/1", {chunk.origin: chunk.fingerprint for chunk in chunks})) == []


def test_a_service_that_refuses_is_named(weather: str) -> None:
    with pytest.raises(DataError, match="404"):
        list(read(f"{weather}/nothing", {}))
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1"):
        list(read("http://127.0.0.1:1/weather", {}))
