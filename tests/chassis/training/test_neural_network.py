"""The network of the template: fitted, exported and made smaller, for each kind of label."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel, Field

from ml_chassis.contract import Contract, Task
from ml_chassis.measures import measures_of
from ml_chassis.serving.predictor import Predictor
from ml_chassis.training.estimator import Dataset
from ml_chassis.training.export import export, parity_difference

pytestmark = pytest.mark.slow

FILE = Path(__file__).parents[3] / "template/src/model_service/neural_network.py"
"""Not in the project of these tests, whose estimator is the other one."""
ROWS = 400
PARAMETERS = {
    **{"hidden_units": 16, "embedding_size": 2, "dropout": 0.1, "learning_rate": 0.02},
    **{"weight_decay": 0.01, "batch_size": 32, "epochs": 15},
}

Number = Annotated[float | None, Field(ge=-10, le=10, examples=[0.5])]
Text = Annotated[str, Field(max_length=9, examples=["a"])]


class Numbers(BaseModel):
    first: Number = None
    second: Number = None


class Texts(BaseModel):
    group: Text


class Both(Numbers, Texts):
    pass


class Binary(Both):
    label: bool


class Multiclass(Both):
    label: Literal["low", "middle", "high"]


class Regression(Both):
    label: Annotated[float, Field(ge=-1_000, le=1_000)]


class OfNumbers(Numbers):
    label: bool


class OfTexts(Texts):
    label: bool


KINDS: dict[Task, Contract] = {
    "binary": Contract(Both, Binary),
    "multiclass": Contract(Both, Multiclass),
    "regression": Contract(Both, Regression),
}


def rows(contract: Contract) -> Dataset:
    """Return rows in which the first number and the group decide; some numbers are missing."""
    random = np.random.default_rng(0)
    numeric = random.normal(size=(ROWS, len(contract.numeric))).astype(np.float32)
    categorical = random.choice(["a", "b"], (ROWS, len(contract.categorical))).astype(object)
    decides = (categorical == "a").sum(axis=1) - 0.5 + numeric[:, :1].sum(axis=1)
    numeric[::7, 1:] = np.nan
    label: dict[Task, Any] = {
        "binary": decides > 0,
        "multiclass": np.digitize(decides, [-0.5, 0.5]),
        "regression": 100 * decides,
    }
    return Dataset(contract, numeric, categorical, label[contract.task])


@pytest.fixture(scope="module")
def network() -> ModuleType:
    spec = spec_from_file_location("neural_network", FILE)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("contract", KINDS.values(), ids=KINDS)
def test_it_learns_is_exported_as_it_is_and_its_variants_have_fewer_units(
    network: ModuleType, contract: Contract
) -> None:
    train, parameters = rows(contract), network.Parameters(**PARAMETERS)
    inputs = train.numeric, train.categorical
    quality = measures_of(contract.task).quality
    scale = np.abs(train.target).max()

    model = network.fit(train, parameters, seed=1)
    graph = export(contract, model)
    variants = list(network.smaller(model, train, parameters, seed=1))

    assert model.predict(*inputs).shape == (ROWS, *contract.width)
    assert quality(train.label, model.predict(*inputs)) > 0.8
    assert parity_difference(model, graph, train) < 1e-5 * scale
    assert export(contract, network.fit(train, parameters, seed=1)) == graph
    assert [(each.name, each.parameters.hidden_units) for each in variants] == [
        *(("8 units", 8), ("4 units", 4), ("2 units", 2)),
    ]
    graphs = [export(contract, each.model) for each in variants]
    sizes = [len(graph), *map(len, graphs)]
    assert sizes == sorted(set(sizes), reverse=True)
    for each, smaller in zip(variants, graphs, strict=True):
        assert parity_difference(each.model, smaller, train) < 1e-5 * scale


@pytest.mark.parametrize(
    "contract", [Contract(Numbers, OfNumbers), Contract(Texts, OfTexts)], ids=["numeric", "text"]
)
def test_a_schema_may_have_one_kind_of_feature_only(
    network: ModuleType, contract: Contract
) -> None:
    train = rows(contract)
    model = network.fit(train, network.Parameters(**PARAMETERS), seed=1)

    answers = Predictor(contract, export(contract, model)).predict(train.numeric, train.categorical)

    assert np.abs(answers - model.predict(train.numeric, train.categorical)).max() < 1e-5
