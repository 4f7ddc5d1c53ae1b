"""From raw tables to a champion, or to nothing at all."""

from copy import copy
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from chassis.flights import CONTRACT, PROJECT
from chassis.rows import small_dataset
from ml_chassis import registry
from ml_chassis.contract import Categorical, Numeric, Predictions
from ml_chassis.personal import MASK
from ml_chassis.testing import Trained
from ml_chassis.training import estimator
from ml_chassis.training.config import ConfigError, Limit, TrainingConfig, read
from ml_chassis.training.estimator import Dataset, FittedModel
from ml_chassis.training.export import export, parity, parity_difference
from ml_chassis.training.split import SplitError
from ml_chassis.training.train import GateError, train

LABEL = CONTRACT.label


def fit(config: TrainingConfig, rows: Dataset) -> FittedModel:
    module, parameters = estimator.load(config)
    return module.fit(rows, parameters, config.seed)


@pytest.fixture(scope="module")
def config() -> TrainingConfig:
    return read(PROJECT)


@pytest.fixture(scope="module")
def fitted(config: TrainingConfig) -> FittedModel:
    return fit(config, small_dataset())


def test_the_champion_is_whole_and_says_where_it_came_from(
    trained: Trained, config: TrainingConfig
) -> None:
    _, manifest = registry.load(trained.models)

    assert manifest == trained.manifest
    assert manifest.rows["train"] > manifest.rows["test"] > 0
    assert manifest.metrics["parity_difference"] < 1e-5
    assert manifest.config_sha256 == config.fingerprint()


def test_a_model_below_a_gate_is_not_registered(
    trained: Trained, tmp_path: Path, config: TrainingConfig
) -> None:
    strict = {**config.gates, "auc": Limit(minimum=0.99, reason="too much to ask")}

    with pytest.raises(GateError, match="auc"):
        train(config.model_copy(update={"gates": strict}), trained.store, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_split_without_test_rows_is_refused(
    trained: Trained, tmp_path: Path, config: TrainingConfig
) -> None:
    later = config.model_copy(update={"test_from": date(9999, 1, 1)})

    with pytest.raises(SplitError, match="There are no rows"):
        train(later, trained.store, tmp_path / "m")


def test_the_same_data_gives_the_same_graph(config: TrainingConfig) -> None:
    graphs = [export(CONTRACT, fit(config, small_dataset())) for _ in range(2)]

    assert graphs[0] == graphs[1]
    assert str(Path(estimator.__file__).parent).encode() not in graphs[0]


@pytest.mark.parametrize("dropped", ["numeric", "categorical"])
def test_a_schema_may_have_one_kind_of_feature_only(config: TrainingConfig, dropped: str) -> None:
    rows = small_dataset()
    contract = copy(CONTRACT)
    setattr(contract, dropped, ())
    rows = replace(rows, contract=contract, **{dropped: getattr(rows, dropped)[:, :0]})

    model = fit(config, rows)
    session = ort.InferenceSession(model.to_onnx().SerializeToString())
    (kept,) = (node.name for node in session.get_inputs())
    answer = session.run(["probability"], {kept: getattr(rows, kept)})[0]

    assert kept != dropped
    assert np.abs(answer - model.predict(rows.numeric, rows.categorical)).max() < 1e-5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"parameters": {"no_such_parameter": 1}}, "no_such_parameter"),
    ],
)
def test_a_mistake_in_the_estimator_is_named(
    config: TrainingConfig, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        estimator.load(config.model_copy(update=change))


def test_the_graph_answers_like_the_model(fitted: FittedModel) -> None:
    assert parity_difference(fitted, export(CONTRACT, fitted), small_dataset()) < 1e-5


@dataclass(frozen=True)
class Changed:
    """A model of which one thing was changed."""

    model: FittedModel
    shift: float = 0
    reverse_opsets: bool = False

    def predict(self, numeric: Numeric, categorical: Categorical) -> Predictions:
        return self.model.predict(numeric, categorical) + np.float32(self.shift)

    def to_onnx(self) -> onnx.ModelProto:
        graph = self.model.to_onnx()
        opsets = list(graph.opset_import)
        del graph.opset_import[:]
        graph.opset_import.extend(reversed(opsets) if self.reverse_opsets else opsets)
        return graph


def test_the_order_of_opsets_does_not_change_the_bytes(fitted: FittedModel) -> None:
    assert export(CONTRACT, Changed(fitted, reverse_opsets=True)) == export(CONTRACT, fitted)


def test_parity_names_the_row_that_differs_most(
    fitted: FittedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, contract = small_dataset(), copy(CONTRACT)
    hidden = [replace(each, personal=each.name == "carrier") for each in CONTRACT.features]
    monkeypatch.setattr(contract, "features", hidden)
    graph = export(CONTRACT, fitted)

    class Odd(Changed):
        def predict(self, numeric: Numeric, categorical: Categorical) -> Predictions:
            answers = super().predict(numeric, categorical)
            answers[numeric[:, 0] == rows.numeric[7, 0]] /= 2
            return answers

    found = parity(Odd(fitted), graph, replace(rows, contract=contract))

    assert found.row[CONTRACT.numeric[0]] == rows.numeric[7, 0]
    assert found.row["carrier"] == MASK
    assert found.difference == pytest.approx(float(abs(found.exported - found.fitted)))
    assert f"where the fitted model answers {found.fitted:.3f}"[:-2] in str(found)
    assert f"{CONTRACT.numeric[0]}={found.row[CONTRACT.numeric[0]]}" in str(found)


@pytest.mark.parametrize("shift", [0.001, float("nan")])
def test_parity_sees_a_graph_that_answers_otherwise(fitted: FittedModel, shift: float) -> None:
    difference = parity_difference(
        Changed(fitted, shift), export(CONTRACT, fitted), small_dataset()
    )

    assert not difference < 1e-4
