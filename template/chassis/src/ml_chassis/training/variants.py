"""Models that could be served instead of the full one: how they are made, measured and chosen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from ..contract import Categorical, Numeric, Predictions
from ..measures import Estimate, mean_interval, measures_of
from ..serving.predictor import Predictor
from . import estimator
from .config import OptimisationConfig, TrainingConfig
from .estimator import Dataset, FittedModel
from .export import Parity, bounds, export, parity
from .gates import judge
from .quantization import quantize
from .timing import ROUNDS, SIZES, Seconds, race, speedup

FULL = "full model"
PARITY = "parity_difference"
ALONE = 100
"""Rows that are answered alone and in company."""


@dataclass(frozen=True)
class Served:
    """A graph in the place of a fitted model, where there is no other."""

    graph: bytes
    predictor: Predictor

    def predict(self, numeric: Numeric, categorical: Categorical) -> Predictions:
        """Return predictions, shape (rows, *width)."""
        return self.predictor.predict(numeric, categorical)

    def to_onnx(self) -> onnx.ModelProto:
        """Return the graph."""
        return onnx.load_from_string(self.graph)


@dataclass(frozen=True)
class Variant:
    """A model that could be served."""

    name: str
    parameters: dict[str, Any]
    model: FittedModel
    graph: bytes
    exported: Parity | None
    """Between the fitted model and the graph; None in int8, which is not meant to be equal."""


@dataclass(frozen=True)
class Measured:
    """What is known of a variant."""

    variant: Variant
    loss: float
    quality: float
    lost: Estimate
    """Mean loss per row more than that of the full model, on the same rows."""
    batch_difference: float
    """Largest change of an answer through other rows in the same call."""
    seconds: Seconds
    speedup: Estimate
    """Times as fast as the full model, for calls with the rows of [optimisation]."""
    refused: str
    """Why it cannot be chosen, or ""."""


def make(config: TrainingConfig, train: Dataset, test: Dataset) -> Iterator[Variant]:
    """Yield the full model, then every variant of it; each in int8 too, where that applies."""
    module, parameters = estimator.load(config)
    full = module.fit(train, parameters, config.seed)
    smaller = getattr(module, "smaller", lambda *_: ())
    yield from _with_int8(FULL, parameters.model_dump(), full, test)
    for each in smaller(full, train, parameters, config.seed):
        yield from _with_int8(each.name, each.parameters.model_dump(), each.model, test)


def _with_int8(
    name: str, parameters: dict[str, Any], model: FittedModel, test: Dataset
) -> Iterator[Variant]:
    graph = export(test.contract, model)
    yield Variant(name, parameters, model, graph, parity(model, graph, test))
    if quantized := quantize(graph):
        served = Served(quantized, Predictor(test.contract, quantized))
        yield Variant(f"{name}, int8", parameters, served, quantized, None)


def measure(
    config: TrainingConfig,
    asked: OptimisationConfig,
    variants: Sequence[Variant],
    test: Dataset,
    rounds: int = ROUNDS,
) -> list[Measured]:
    """Measure variants, the full model first, by what their graphs answer.

    Args:
        config: What training.toml says.
        asked: Its table [optimisation].
        variants: The full model, then others.
        test: Later rows.
        rounds: How often each is timed for each number of rows.
    """
    by = measures_of(test.contract.task)
    served = {each.name: Predictor(test.contract, each.graph) for each in variants}
    seconds = race(served, test, sorted({*SIZES, asked.rows}), rounds)
    inputs = test.numeric, test.categorical
    answers = {name: model.predict(*inputs) for name, model in served.items()}
    lost = {name: by.losses(test.label, answer) for name, answer in answers.items()}
    found = []
    for each in variants:
        name = each.name
        loss = mean_interval(lost[name] - lost[FULL])
        alike = _batch_difference(served[name], test)
        faster = speedup(seconds[FULL][asked.rows], seconds[name][asked.rows])
        found.append(
            Measured(
                variant=each,
                loss=float(lost[name].mean()),
                quality=by.quality(test.label, answers[name]),
                lost=loss,
                batch_difference=alike,
                seconds=seconds[name],
                speedup=faster,
                refused=_refusal(config, asked, each, loss, alike, faster),
            )
        )
    return found


def choose(measured: Sequence[Measured], rows: int) -> Measured:
    """Return the fastest variant that can be chosen, by the median time of a call.

    Args:
        measured: The full model, then others.
        rows: In a call.
    """
    full, *others = measured
    good = [each for each in others if not each.refused]
    return min(good, key=lambda each: float(np.median(each.seconds[rows])), default=full)


def _batch_difference(model: Predictor, test: Dataset) -> float:
    """Return how far answers to real rows move beside rows at the bounds of the schema."""
    numeric, categorical = test.numeric[:ALONE], test.categorical[:ALONE]
    alone = [
        model.predict(numeric[row : row + 1], categorical[row : row + 1])
        for row in range(len(numeric))
    ]
    ends = bounds(test.contract)
    company = np.concatenate([numeric, ends]), np.concatenate([categorical, categorical[:2]])
    together = model.predict(*company)[: len(numeric)]
    return float(np.abs(np.concatenate(alone) - together).max())


def _refusal(
    config: TrainingConfig,
    asked: OptimisationConfig,
    variant: Variant,
    loss: Estimate,
    batch_difference: float,
    faster: Estimate,
) -> str:
    """Return the first condition that a variant does not meet; NaN meets none."""
    if variant.name == FULL:
        return ""
    if variant.exported is not None:
        limits = {name: limit for name, limit in config.gates.items() if name == PARITY}
        if any(not gate.passed for gate in judge({PARITY: variant.exported.difference}, limits)):
            return "the graph does not answer like the model"
    if not batch_difference <= asked.maximum_batch_difference:
        return "answers depend on the other rows of a call"
    if not loss.high <= asked.maximum_loss:
        return f"it may lose {loss.high:.4f}, and {asked.maximum_loss:g} is allowed"
    if not faster.low >= asked.minimum_speedup:
        return f"it may be {faster.low:.2f} times as fast, and {asked.minimum_speedup:g} is asked"
    return ""
