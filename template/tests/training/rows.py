"""Rows for tests that need a model, and no real one."""

import numpy as np

from model_service.contract import CATEGORICAL, NUMERIC
from model_service.training.estimator import Dataset


def small_dataset(rows: int = 400) -> Dataset:
    """Return random rows in which the first number decides, an hour apart."""
    random = np.random.default_rng(0)
    numeric = random.normal(size=(rows, len(NUMERIC))).astype(np.float32)
    categorical = random.choice(["a", "b"], size=(rows, len(CATEGORICAL))).astype(object)
    time = np.datetime64("2013-01-01", "us") + np.arange(rows) * np.timedelta64(1, "h")
    return Dataset(numeric, categorical, numeric[:, 0] > 0, time)
