"""Variants are judged by what they answer and how fast; the best one passes the same gates."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from chassis.flights import CONTRACT, PROJECT
from chassis.rows import small_dataset
from ml_chassis import registry
from ml_chassis.contract import CATEGORICAL_INPUT, NUMERIC_INPUT
from ml_chassis.measures import Estimate
from ml_chassis.reference import END
from ml_chassis.serving.predictor import Predictor
from ml_chassis.testing import Trained
from ml_chassis.training import card, estimator, optimisation_report
from ml_chassis.training.config import ConfigError, Limit, OptimisationConfig, read
from ml_chassis.training.export import Parity, export
from ml_chassis.training.optimise import Optimisation, optimise, propose, require
from ml_chassis.training.quantization import quantize
from ml_chassis.training.timing import speedup
from ml_chassis.training.train import GateError, Rows, gather, register
from ml_chassis.training.variants import FULL, Measured, Served, Variant, choose, measure

CATEGORICAL = CONTRACT.categorical
NUMERIC = CONTRACT.numeric
OUTPUT = CONTRACT.output

ANYTHING = OptimisationConfig(
    rows=100,
    minimum_speedup=1,
    maximum_loss=10,
    maximum_batch_difference=1,
    reason="whatever is faster",
).model_copy(update={"minimum_speedup": 0})


@pytest.fixture(scope="module")
def rows(trained: Trained) -> Rows:
    return gather(read(PROJECT), trained.store)


@pytest.fixture(scope="module")
def found(rows: Rows) -> Optimisation:
    return optimise(read(PROJECT), ANYTHING, rows, rounds=3)


def test_a_smaller_model_has_the_size_of_one_with_its_parameters() -> None:
    config, rows = read(PROJECT), small_dataset()
    module, parameters = estimator.load(config)
    full = module.fit(rows, parameters, config.seed)

    made = list(module.smaller(full, rows, parameters, config.seed))
    again = list(module.smaller(full, rows, parameters, config.seed))
    graphs = [export(CONTRACT, each.model) for each in made]

    assert len(export(CONTRACT, full)) > len(graphs[0]) > len(graphs[-1])
    assert [export(CONTRACT, each.model) for each in again] == graphs
    for each, graph in zip(made, graphs, strict=True):
        like = export(CONTRACT, module.fit(rows, each.parameters, config.seed))
        assert len(graph) == pytest.approx(len(like), rel=0.05)


def test_the_chosen_variant_is_registered_and_says_why(
    rows: Rows, found: Optimisation, tmp_path: Path
) -> None:
    config = read(PROJECT).model_copy(update={"gates": {}})
    candidate = propose(config, rows, found, tmp_path)
    assert candidate
    manifest = register(CONTRACT, candidate, tmp_path)

    assert found.chosen.variant.name in manifest.variant
    assert manifest.parameters == found.chosen.variant.parameters
    assert manifest.config_sha256 == config.fingerprint()
    assert registry.load(tmp_path)[0] == found.chosen.variant.graph
    assert propose(config, rows, found, tmp_path) is None  # it is the champion now
    page = tmp_path / "card.md"
    page.write_text(f"{card.BEGIN}{END}")
    card.write(config, candidate, manifest, page)
    assert manifest.variant in page.read_text()


def test_the_chosen_variant_meets_the_gates_or_nothing_is_registered(
    rows: Rows, found: Optimisation, tmp_path: Path
) -> None:
    strict = {"auc": Limit(minimum=0.99, reason="too much to ask")}
    candidate = propose(read(PROJECT).model_copy(update={"gates": strict}), rows, found, tmp_path)

    assert candidate
    with pytest.raises(GateError, match="auc"):
        register(CONTRACT, candidate, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_full_model_stays_where_nothing_is_better(rows: Rows, found: Optimisation) -> None:
    full = found.measured[0]
    kept = replace(found, chosen=choose([full], ANYTHING.rows))

    assert kept.chosen is full
    assert propose(read(PROJECT), rows, kept, Path("nowhere")) is None


def test_the_fastest_of_those_that_can_be_chosen_is_chosen(found: Optimisation) -> None:
    full = found.measured[0]

    def taking(seconds: float, refused: str = "") -> Measured:
        return replace(full, seconds={100: np.full(3, seconds)}, refused=refused)

    slow, fast, refused = taking(2), taking(1), taking(0.5, "it may lose more")

    assert choose([full, slow, fast, refused], 100) is fast
    assert choose([full, refused], 100) is full


@pytest.mark.parametrize(
    ("change", "difference", "reason"),
    [
        ({}, 0.0, ""),
        ({}, 1.0, "does not answer like the model"),
        ({}, float("nan"), "does not answer like the model"),
        ({"maximum_loss": -1}, None, "it may lose 0.0000, and -1 is allowed"),
        ({"maximum_batch_difference": -1}, 0.0, "other rows of a call"),
        ({"minimum_speedup": 1e6}, 0.0, "times as fast, and 1e+06 is asked"),
    ],
)
def test_a_variant_is_refused_for_a_reason(
    found: Optimisation, rows: Rows, change: dict[str, float], difference: float | None, reason: str
) -> None:
    full = replace(found.measured[0].variant, name=FULL)
    answer = np.zeros(1, np.float32)
    exported = None if difference is None else Parity(difference, {}, answer, answer)
    other = replace(full, name="another", exported=exported)
    asked = ANYTHING.model_copy(update=change)

    _, measured = measure(read(PROJECT), asked, [full, other], rows.test, rounds=2)

    assert reason in measured.refused
    assert bool(reason) == bool(measured.refused)


def test_a_model_whose_answers_depend_on_other_rows_is_found_out(found: Optimisation) -> None:
    nodes = [
        helper.make_node("ReduceMax", [NUMERIC_INPUT], ["largest"], keepdims=0),
        helper.make_node("ReduceMax", [NUMERIC_INPUT, "across"], ["own"], keepdims=0),
        helper.make_node("Div", ["own", "largest"], ["share"]),
        helper.make_node("Sigmoid", ["share"], [OUTPUT]),
    ]
    graph = graph_of(nodes, [helper.make_tensor("across", TensorProto.INT64, [1], [1])])
    test = small_dataset()
    full = Variant(FULL, {}, Served(graph, Predictor(CONTRACT, graph)), graph, None)

    (measured,) = measure(read(PROJECT), ANYTHING, [full], test, rounds=2)

    assert measured.batch_difference > 0.01
    assert found.measured[0].batch_difference < 1e-5


def test_matrix_products_become_int8() -> None:
    random = np.random.default_rng(0)
    weights = random.normal(size=(len(NUMERIC), 256)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", [NUMERIC_INPUT, "weights"], ["products"]),
        helper.make_node("ReduceMean", ["products", "across"], ["mean"], keepdims=0),
        helper.make_node("Sigmoid", ["mean"], [OUTPUT]),
    ]
    across = helper.make_tensor("across", TensorProto.INT64, [1], [1])
    graph = graph_of(nodes, [onnx.numpy_helper.from_array(weights, "weights"), across])

    quantized = quantize(graph)

    assert quantized
    assert quantized == quantize(graph)
    assert len(quantized) < len(graph) / 2
    rows = small_dataset()
    answers = [
        Predictor(CONTRACT, g).predict(rows.numeric, rows.categorical) for g in (graph, quantized)
    ]
    assert np.abs(answers[0] - answers[1]).max() < 0.01


def test_what_has_no_matrix_product_has_no_int8() -> None:
    across = helper.make_tensor("across", TensorProto.INT64, [1], [1])
    nodes = [helper.make_node("ReduceMax", [NUMERIC_INPUT, "across"], [OUTPUT], keepdims=0)]

    assert quantize(graph_of(nodes, [across])) is None


def test_speed_is_compared_round_by_round() -> None:
    noise = np.array([1.0, 5.0, 2.0, 9.0])

    assert speedup(3 * noise, noise) == Estimate(3, 3, 3)


def test_the_report_shows_every_variant_and_its_verdict(found: Optimisation) -> None:
    page = optimisation_report.render(CONTRACT, found.asked, found.measured, found.sentence)

    assert [each.variant.name for each in found.measured if each.variant.name not in page] == []
    assert page.count("<svg") == 3
    assert not re.search(r"(src|href)=|url\(|@import|<script", page)


def test_what_may_be_lost_must_be_declared() -> None:
    with pytest.raises(ConfigError, match=r"\[optimisation\]"):
        require(read(PROJECT).model_copy(update={"optimisation": None}))


def graph_of(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> bytes:
    """Return a graph with the inputs and the output of this schema."""
    inputs = [
        helper.make_tensor_value_info(NUMERIC_INPUT, TensorProto.FLOAT, [None, len(NUMERIC)]),
        helper.make_tensor_value_info(
            CATEGORICAL_INPUT, TensorProto.STRING, [None, len(CATEGORICAL)]
        ),
    ]
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None])
    graph = helper.make_graph(nodes, "model", inputs, [output], constants)
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    content: bytes = model.SerializeToString()
    return content
