"""What computes the features: Polars in this process, or Spark."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl

from . import DataError
from .privacy import said

INSTALL = "uv add --optional spark 'pyspark[sql]>=4,<5' 'pandas<3'"


@contextmanager
def start(engine: str, private: bool) -> Iterator[Callable[[pl.DataFrame], Any]]:
    """Yield what turns raw rows into a table of an engine.

    Args:
        engine: "polars" or "spark".
        private: Whether the rows hold personal values.

    Raises:
        DataError: Spark is not installed, or fails.
    """
    if engine == "polars":
        yield lambda rows: rows
        return
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError:
        raise DataError(f"MODEL_SERVICE_ENGINE=spark needs PySpark: {INSTALL}") from None
    try:
        session = SparkSession.builder.config("spark.sql.session.timeZone", "UTC").getOrCreate()
        yield lambda rows: session.createDataFrame(rows.to_arrow())
        session.stop()
    except PySparkException as error:
        raise DataError(
            f"Spark, which needs Java 17 or newer, failed: {said(error, private)}"
        ) from error
