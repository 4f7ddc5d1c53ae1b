"""Rows are counted in the bins that training chose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from chassis.flights import CONTRACT
from ml_chassis.monitoring.drift import (
    LEVELS,
    MAX_GATHERED_ROWS,
    MAX_ROWS_PER_SECOND,
    PREDICTION,
    CategoricalBins,
    DriftCounts,
    NumericBins,
    NumericTable,
    Reference,
)

CATEGORICAL = CONTRACT.categorical
NUMERIC = CONTRACT.numeric

TEN = np.arange(1, 11, dtype=np.float32)


def test_training_fills_the_bins_of_a_number_alike() -> None:
    bins = NumericBins.fit(np.repeat(TEN, 7))

    assert bins.share[:-1] == pytest.approx([0.1] * 10)
    assert bins.share[-1] == 0  # nothing was missing
    assert len(bins.names) == len(set(bins.names)) == len(bins.share)


def test_values_outside_and_missing_ones_have_a_bin() -> None:
    bins = NumericBins.fit(TEN)

    counts = bins.count(np.array([-1e9, 1e9, np.nan, np.nan], np.float32))

    assert (counts[0], counts[-2], counts[-1]) == (1, 1, 2)
    assert counts.sum() == 4


@pytest.mark.parametrize("values", [[3.0] * 5, [np.nan] * 5])
def test_a_number_that_never_changes_has_bins_too(values: list[float]) -> None:
    bins = NumericBins.fit(np.array(values, np.float32))

    assert sum(bins.share) == pytest.approx(1)
    assert len(bins.names) == len(bins.share)


NUMBERS = st.floats(width=32) | st.sampled_from(TEN.tolist())


@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=30))
def test_a_table_is_counted_as_its_columns_are(rows: list[list[float]]) -> None:
    columns = [
        NumericBins.fit(TEN),
        NumericBins.fit(np.full(5, np.nan, np.float32)),
        NumericBins.fit(np.repeat(TEN[:2], 5)),
    ]
    table = np.array(rows, np.float32).T

    counted = NumericTable(columns).count(table)

    for bins, values, counts in zip(columns, table, counted, strict=True):
        np.testing.assert_array_equal(counts, bins.count(values))


def test_rare_and_missing_texts_have_a_bin() -> None:
    frequent = [f"level {number}" for number in range(LEVELS)]
    bins = CategoricalBins.fit([*frequent * 2, "rare", "other", ""])

    counts = dict(zip(bins.names, bins.count(["level 3", "rare", "new", ""]), strict=True))

    assert counts["= level 3"] == 1
    assert counts["other"] == 2
    assert counts["missing"] == 1
    assert sum(bins.share) == pytest.approx(1)


@pytest.mark.parametrize("rows", [1, MAX_GATHERED_ROWS + 1])
def test_what_was_answered_is_published(rows: int) -> None:
    numeric = np.ones((rows, len(NUMERIC)), np.float32)
    categorical = np.full((rows, len(CATEGORICAL)), "a", object)
    prediction = np.full(rows, 0.5, np.float32)
    version = f"v{rows}"
    counts = DriftCounts(
        CONTRACT, version, Reference.fit(CONTRACT, numeric, categorical, prediction)
    )
    counts.publish()

    counts.add(numeric, categorical, prediction)
    counts.flush()
    counts.flush()

    def value(metric: str, feature: str, name: str) -> float | None:
        labels = {"version": version, "feature": feature, "bin": name}
        return REGISTRY.get_sample_value(f"model_service_feature_{metric}", labels)

    for feature, name in [
        (NUMERIC[0], "up to 1"),
        (CATEGORICAL[0], "= a"),
        (PREDICTION, "up to 0.5"),
    ]:
        assert value("bin_total", feature, name) == rows
        assert value("reference_ratio", feature, name) == 1
    assert value("bin_total", CATEGORICAL[0], "other") == 0


def test_of_very_many_rows_a_share_is_counted() -> None:
    rows = 100
    numeric = np.ones((rows, len(NUMERIC)), np.float32)
    categorical = np.full((rows, len(CATEGORICAL)), "a", object)
    prediction = np.full(rows, 0.5, np.float32)
    counts = DriftCounts(
        CONTRACT, "busy", Reference.fit(CONTRACT, numeric, categorical, prediction)
    )
    counts.publish()
    labels = {"version": "busy", "feature": PREDICTION, "bin": "up to 0.5"}

    def in_a_second(batches: int) -> float:
        def value() -> float:
            return REGISTRY.get_sample_value("model_service_feature_bin_total", labels) or 0

        before = value()
        for _ in range(batches):
            counts.add(numeric, categorical, prediction)
        counts.flush()
        return value() - before

    busy = 10 * MAX_ROWS_PER_SECOND // rows
    # Until it is known how many come, the share falls with each call: 1, then 1/2, 1/3, ...
    assert MAX_ROWS_PER_SECOND < in_a_second(busy) < busy * rows / 2
    assert in_a_second(busy) == pytest.approx(MAX_ROWS_PER_SECOND, rel=0.35)  # 5 deviations
    assert in_a_second(5) <= 5 * rows
    assert in_a_second(5) == 5 * rows
