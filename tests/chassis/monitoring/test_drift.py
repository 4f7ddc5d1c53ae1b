"""Rows are counted in the bins that training chose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from chassis.flights import CONTRACT
from ml_chassis.contract import Categorical, Numeric
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
    Values,
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


def test_edges_that_are_close_have_names_of_their_own() -> None:
    bins = NumericBins.fit(np.linspace(1_000_000, 1_000_004, 100, dtype=np.float32))

    assert len(set(bins.names)) == len(bins.names)


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


def rows_of(numbers: np.random.Generator, shift: float = 0) -> tuple[Numeric, Categorical, Values]:
    """Return rows and predictions for them."""
    numeric = numbers.normal(shift, 1, (1_000, len(NUMERIC))).astype(np.float32)
    categorical = numbers.choice(["a", "b", "c"], (1_000, len(CATEGORICAL))).astype(object)
    return numeric, categorical, numeric[:, 0]


def test_a_challenger_keeps_the_bins_of_the_champion_while_they_tell_rows_apart() -> None:
    random = np.random.default_rng(0)
    champion = Reference.fit(CONTRACT, *rows_of(random))
    alike, shifted = rows_of(random, 0.1), rows_of(random, 2)
    shifted[1][:, 0] = random.choice(["d", "e"], 1_000)

    kept = Reference.fit(CONTRACT, *alike, champion)
    for name, bins in kept.bins.items():
        assert bins.names == champion.bins[name].names
        assert bins.share != champion.bins[name].share
        assert sum(bins.share) == pytest.approx(1)
    counted = kept.count(CONTRACT, *alike)
    assert kept.numeric[NUMERIC[1]].share == pytest.approx(counted[NUMERIC[1]] / 1_000)

    new = Reference.fit(CONTRACT, *shifted, champion)
    assert new.numeric == Reference.fit(CONTRACT, *shifted).numeric
    assert new.categorical[CATEGORICAL[0]].levels == ["d", "e"]
    assert new.categorical[CATEGORICAL[1]].levels == ["a", "b", "c"]


@pytest.mark.parametrize("rows", [1, MAX_GATHERED_ROWS + 1])
def test_of_each_request_the_first_prediction_is_counted_in_the_bins_of_both_models(
    rows: int,
) -> None:
    random, version = np.random.default_rng(0), f"of {rows}"
    champion = Reference.fit(CONTRACT, *rows_of(random))
    own = Reference.fit(CONTRACT, *rows_of(random, 2), champion)
    assert len(own.of_predictions) == 2
    assert own.of_predictions.keys() > champion.of_predictions.keys()
    alike = Reference.fit(CONTRACT, *rows_of(random, 0.1), champion)
    assert alike.of_predictions.keys() == champion.of_predictions.keys()

    counts = DriftCounts(CONTRACT, version, own, rows)
    counts.publish()
    numeric, categorical, prediction = (
        np.resize(each, (rows, *each.shape[1:])) for each in rows_of(random)
    )
    first = [0, *range(1, rows, 50)]
    counts.add(numeric, categorical, prediction, first)
    counts.flush()
    counts.flush()

    for fingerprint, bins in own.of_predictions.items():
        expected = bins.count(prediction[first])  # type: ignore[arg-type]
        for name, count in zip(bins.names, expected, strict=True):
            labels = {"version": version, "bins": fingerprint, "bin": name}
            found = REGISTRY.get_sample_value("model_service_prediction_bin_total", labels)
            assert found == count


@pytest.mark.parametrize("rows", [1, MAX_GATHERED_ROWS + 1])
def test_what_was_answered_is_published(rows: int) -> None:
    numeric = np.ones((rows, len(NUMERIC)), np.float32)
    categorical = np.full((rows, len(CATEGORICAL)), "a", object)
    prediction = np.full(rows, 0.5, np.float32)
    version = f"v{rows}"
    counts = DriftCounts(
        CONTRACT, version, Reference.fit(CONTRACT, numeric, categorical, prediction), rows
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
        CONTRACT, "busy", Reference.fit(CONTRACT, numeric, categorical, prediction), rows
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
