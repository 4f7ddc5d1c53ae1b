"""Scored rows into a file that is there whole or not at all, and the refused ones beside it."""

import gzip
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, cast

import polars as pl

from ..data.formats import SUFFIXES, kind_of, text
from ..data.privacy import said
from . import ScoreError

Refused = tuple[int, str]
"""The position of a row, from 1, and what is wrong with it."""


class Output:
    """A file that takes its place when all rows are written."""

    def __init__(self, path: Path, folder: Path) -> None:
        """Take its path, and a folder in which it grows."""
        self.path = path
        self.refused_path = refused_path(path)
        self._target = path.resolve()  # of a symbolic link, what it points to is replaced
        self._folder = folder
        self._growing = folder / path.name
        self._refused = folder / self.refused_path.name
        self._refused.touch()
        self._parts = 0

    def write(self, rows: pl.DataFrame) -> None:
        """Add rows; all that are added have the same columns."""
        if self.path.suffix == ".parquet":  # the parts become one in the end
            rows.write_parquet(self._folder / f"{self._parts:09}.part")
        else:
            with self._append() as file:
                if kind_of(self.path.name) == "csv":
                    flat = rows.select(map(_flat, rows))
                    flat.write_csv(file, include_header=self._parts == 0)
                else:
                    rows.select(map(_for_json, rows)).write_ndjson(file)
        self._parts += 1

    def refuse(self, refused: Iterable[Refused]) -> None:
        """Note rows that were not scored; the values are left out, since they may be personal."""
        with self._refused.open("a", encoding="utf-8") as file:
            for position, reason in refused:
                line = json.dumps({"row": position, "reason": reason}, ensure_ascii=False)
                file.write(f"{line}\n")

    def keep_refused(self) -> None:
        """Put the list of refused rows in its place; one of another run is no longer true."""
        if self._refused.stat().st_size:
            shutil.move(self._refused, self.refused_path)  # a link may lead to another disk
        else:
            self.refused_path.unlink(missing_ok=True)

    def keep(self) -> None:
        """Put the file in its place."""
        if self.path.suffix == ".parquet":
            parts = sorted(self._folder.glob("*.part"))
            pl.scan_parquet(parts, glob=False).sink_parquet(self._growing)
        if self._target.exists():
            shutil.copymode(self._target, self._growing)
        self._growing.replace(self._target)

    def _append(self) -> IO[bytes]:
        if self.path.suffix == ".gz":
            return cast(IO[bytes], gzip.open(self._growing, "ab"))
        return self._growing.open("ab")


@contextmanager
def writing(path: Path, source: str, private: bool) -> Iterator[Output]:
    """Yield a file that is written; what does not keep it leaves nothing behind.

    Raises:
        ScoreError: its kind is unknown, it would replace its source, or it cannot be written.
    """
    if not path.name.endswith(SUFFIXES):
        raise ScoreError(f"{path}: give a file that ends in {', '.join(SUFFIXES)}.")
    try:
        target = path.resolve()
    except (RuntimeError, ValueError) as error:
        raise ScoreError(f"{path}: is no path: {error}") from None
    if not target.parent.is_dir():
        raise ScoreError(f"{path}: there is no folder {target.parent}.")
    if target.exists() and not target.is_file():
        raise ScoreError(f"{path}: this is no file, but a folder or a device.")
    for written in (path, refused_path(path)):
        if _is_same(written, Path(source)):
            raise ScoreError(f"{written}: this is INPUT itself, which would be lost; name another.")
    try:
        with TemporaryDirectory(prefix=f".{path.name}.", dir=target.parent) as folder:
            yield Output(path, Path(folder))
    except (OSError, pl.exceptions.ComputeError) as error:
        raise ScoreError(f"{path}: cannot be written: {said(error, private)}") from error


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one is not there
        return False


def _flat(column: pl.Series) -> pl.Series:
    """Return a column as CSV can hold it: what is nested as JSON, bytes in hexadecimal digits."""
    if column.dtype.is_nested():
        return pl.Series(column.name, [text(value) for value in column.to_list()], pl.String)
    return column.dt.to_string("iso") if column.dtype == pl.Duration else _for_json(column)


def _for_json(column: pl.Series) -> pl.Series:
    """Return a column as JSON can hold it; Polars panics at bytes."""
    if column.dtype == pl.Binary:
        return column.bin.encode("hex")
    return _flat(column) if "Binary" in str(column.dtype) else column


def refused_path(path: Path) -> Path:
    """Return where the refused rows of a file are listed."""
    stem = next(path.name.removesuffix(end) for end in SUFFIXES if path.name.endswith(end))
    return path.with_name(f"{stem}.refused.jsonl")
