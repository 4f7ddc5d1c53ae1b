"""YOURS: read the raw tables and fingerprint them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from . import DataError


@dataclass(frozen=True)
class RawTables:
    """The tables as they came, nothing repaired; see data/README.md for their columns."""

    flights: pl.DataFrame
    planes: pl.DataFrame
    weather: pl.DataFrame
    sha256: str


def extract(folder: Path) -> RawTables:
    """Read the raw tables from a folder.

    Raises:
        DataError: a table is missing or is not a Parquet file.
    """
    digest = hashlib.sha256()
    tables = {}
    for name in ("flights", "planes", "weather"):
        path = folder / f"{name}.parquet"
        try:
            content = path.read_bytes()
            tables[name] = pl.read_parquet(content)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        digest.update(content)
    return RawTables(**tables, sha256=digest.hexdigest())
