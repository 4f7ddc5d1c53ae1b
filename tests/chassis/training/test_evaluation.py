"""What is said of a model is true of it: on all rows, on parts of them, and of its features."""

from dataclasses import dataclass

import numpy as np
import pytest

from chassis.flights import CONTRACT, PROJECT
from ml_chassis.contract import Categorical, Numeric, Predictions
from ml_chassis.training.config import EvaluationConfig, TrainingConfig, read
from ml_chassis.training.estimator import Dataset
from ml_chassis.training.evaluation import Evaluation, evaluate, without_some

CATEGORICAL = CONTRACT.categorical
NUMERIC = CONTRACT.numeric

ROWS = 3_000
GROUP = CATEGORICAL[0]


def rows() -> Dataset:
    """Return rows in which the first number decides; those of group b are decided by a coin."""
    random = np.random.default_rng(0)
    numeric = random.normal(size=(ROWS, len(NUMERIC))).astype(np.float32)
    categorical = np.full((ROWS, len(CATEGORICAL)), "x", object)
    categorical[:, 0] = random.choice(["a", "b", "few"], ROWS, p=[0.79, 0.2, 0.01])
    label = random.random(ROWS) < truth(numeric)
    coin = categorical[:, 0] == "b"
    label[coin] = random.random(coin.sum()) < 0.5
    day = np.datetime64("2026-01-01") + np.arange(ROWS) * np.timedelta64(90, "D") // ROWS
    return Dataset(CONTRACT, numeric, categorical, label, day.astype("datetime64[us]"))


def truth(numeric: Numeric) -> Predictions:
    return (1 / (1 + np.exp(-2 * numeric[:, 0]))).astype(np.float32)


@dataclass(frozen=True)
class Knows:
    """A model that knows how the first number decides, and may be led astray by the second."""

    astray: float = 0.0

    def predict(self, numeric: Numeric, _: Categorical) -> Predictions:
        shifted = numeric.copy()
        shifted[:, 0] += self.astray * numeric[:, 1]
        return truth(shifted)

    def to_onnx(self) -> None:
        raise NotImplementedError


@pytest.fixture(scope="module")
def config() -> TrainingConfig:
    asked = EvaluationConfig(slices=(GROUP,), fairness=(GROUP,), minimum_rows=100)
    return read(PROJECT).model_copy(update={"evaluation": asked})


def measured(config: TrainingConfig, model: Knows, test: Dataset) -> Evaluation:
    others = {"base_rate": np.full(len(test), 0.5, np.float32)}
    return evaluate(config, test, model, others, [truth(test.numeric)])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found(config: TrainingConfig) -> Evaluation:
    return measured(config, Knows(), rows())


def test_only_the_feature_that_decides_matters(found: Evaluation) -> None:
    first, *others = found.importance

    assert first.feature == NUMERIC[0]
    assert first.loss.low > 0
    assert {each.loss.value for each in others} == {0}
    assert found.measures["harmful_features"] == 0


def test_a_feature_that_leads_astray_is_harmful(config: TrainingConfig) -> None:
    test = rows()
    test.numeric[:, 1] = np.where(test.label, -1, 1)

    worse = measured(config, Knows(astray=1), test)

    assert worse.measures["harmful_features"] == 1
    assert worse.importance[-1].feature == NUMERIC[1]


def test_a_slice_that_is_a_coin_is_seen_and_a_small_one_is_not_judged(found: Evaluation) -> None:
    aucs = {each.name: each.quality for each in found.slices}

    assert set(aucs) == {f"{GROUP} a", f"{GROUP} b"}
    assert aucs[f"{GROUP} a"].low > 0.8
    assert aucs[f"{GROUP} b"].low < 0.5 < aucs[f"{GROUP} b"].high
    assert found.measures["worst_slice_auc"] == aucs[f"{GROUP} b"].high


def test_gains_are_judged_by_what_is_certain(found: Evaluation) -> None:
    gain = found.gains["base_rate"]

    assert 0 < found.measures["gain_over_base_rate"] == gain.low < gain.value


def test_months_are_told_apart(found: Evaluation) -> None:
    assert [each.name for each in found.months] == ["2026-01", "2026-02", "2026-03"]
    assert sum(each.rows for each in found.months) == ROWS
    assert found.measures["decay"] < 0


def test_groups_that_are_treated_unlike_are_seen(config: TrainingConfig) -> None:
    test = rows()
    test.numeric[test.categorical[:, 0] == "a", 0] -= 4  # of these fewer true ones are found

    gap = measured(config, Knows(), test).measures["fairness_gap"]

    assert gap > measured(config, Knows(), rows()).measures["fairness_gap"]


def test_other_fits_on_other_rows_show_the_spread(found: Evaluation) -> None:
    assert found.measures["seed_spread"] == 0
    some = without_some(rows(), seed=1)
    assert 0.88 * ROWS < len(some) < 0.92 * ROWS
    assert some.time is not None
    assert len(some.time) == len(some)
