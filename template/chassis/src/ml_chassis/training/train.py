"""Update the data, split, fit, evaluate, export, prove and register: all of `make train`."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from .. import registry, settings, storage
from ..contract import Contract, Predictions
from ..data.pipeline import say, update
from ..data.store import Store, open_store
from ..errors import UserError
from ..fallback import Fallback
from ..monitoring.drift import Reference
from ..monitoring.quality import Expected
from ..project import Project
from ..reports.page import write
from ..serving.predictor import Predictor
from ..storage import Root
from . import card, estimator, report, simple
from .candidate import Candidate
from .config import CONFIG, TrainingConfig, read
from .dataset import fingerprint
from .estimator import Dataset, Estimator, FittedModel
from .evaluation import SEEDS, evaluate, without_some
from .export import Parity, export, parity
from .gates import judge
from .log import Log, describe_run, open_log
from .split import Split

STEPS = 6
PACKAGES = ("numpy", "onnx", "onnxruntime", "polars")
REPORT = Path("build/training/report.html")


class Champion(NamedTuple):
    """The model that is served."""

    predictor: Predictor
    manifest: registry.Manifest


class GateError(UserError):
    """The model does not meet a gate; it was not registered."""


def run(project: Project) -> int:
    """Train, and promote the model when it meets every gate; return the exit code."""
    try:
        configured = settings.read()
        config, models = read(project), configured.models_dir
        storage.require_writable(models)
        with open_store(project, configured) as store:
            begun = monotonic()
            candidate = prepare(config, store, models, configured.addresses)
            write(REPORT, report.render(config, candidate))
            print(f"      all of it: {REPORT}")
            manifest = conclude(candidate, models, open_log(store, configured), begun)
        card.write(config, candidate, manifest)
    except UserError as error:
        print(f"\nNothing was registered. {error}", file=sys.stderr)
        return 1
    print(f"\n{manifest.version} is the champion now. Next: `make serve`, or `make check`.")
    return 0


def train(config: TrainingConfig, store: Store, models: Root) -> registry.Manifest:
    """Run all steps and return the manifest of the new champion; see `prepare` and `register`."""
    return register(config.project.contract, prepare(config, store, models), models)


def prepare(
    config: TrainingConfig, store: Store, models: Root, sources: Mapping[str, str] | None = None
) -> Candidate:
    """Bring the rows up to date, fit a model and measure it.

    Args:
        config: What training.toml says.
        store: The database that takes the rows, and the refused ones with their reasons.
        models: Folder or URL of the registry, whose champion is measured on the same rows.
        sources: Addresses of raw tables instead of those that the project names.

    Raises:
        ConfigError: a parameter is wrong.
        DataError: a source cannot be read or does not give the features.
        SplitError: a side of the split cannot be used.
    """
    estimator.load(config)
    return fit(config, gather(config, store, sources), models)


@dataclass(frozen=True)
class Rows:
    """What models are fitted to and measured on."""

    train: Dataset
    test: Dataset
    fingerprint: str
    until: datetime | None
    """Time of the newest, where rows know one."""
    refused_share: float


def gather(
    config: TrainingConfig,
    store: Store,
    sources: Mapping[str, str] | None = None,
    steps: int = STEPS,
) -> Rows:
    """Bring the rows up to date and split them; the steps 1 and 2, see `prepare`."""
    step(1, "read what is new", steps)
    say(update(store.project, store, sources))
    return split(config, store, steps)


def split(config: TrainingConfig, store: Store, steps: int = STEPS) -> Rows:
    """Split the rows that are there; step 2.

    Raises:
        DataError: there are none.
        SplitError: a side of the split cannot be used.
    """
    asked = Split.of(config)
    step(2, f"split the rows {asked.place}", steps)
    rows, refused = store.features(), store.refused_shares()
    train_rows, test_rows = asked.divide(rows)
    time = config.project.time
    until = cast(datetime, rows[time].max()) if time else None
    return Rows(train_rows, test_rows, fingerprint(rows), until, max(refused.values()))


def fit(config: TrainingConfig, rows: Rows, models: Root, steps: int = STEPS) -> Candidate:
    """Fit a model and measure it; the steps 3 to 5.

    Raises:
        ConfigError: a parameter is wrong.
    """
    module, parameters = estimator.load(config)
    train = rows.train
    step(
        3,
        f"fit {config.project.estimator_name} on {len(train)} rows {Split.of(config).train}",
        steps,
    )
    model = module.fit(train, parameters, config.seed)

    step(4, "export to ONNX and compare", steps)
    graph = export(train.contract, model)
    return assess(config, rows, model, graph, parity(model, graph, rows.test), models, steps)


def assess(
    config: TrainingConfig,
    rows: Rows,
    model: FittedModel,
    graph: bytes,
    exported: Parity | None,
    models: Root,
    steps: int = STEPS,
) -> Candidate:
    """Measure a fitted model and hold it against the gates.

    Args:
        config: What training.toml says, with the parameters of this model.
        rows: What it was fitted to, and what it is measured on.
        model: The model.
        graph: The same as ONNX, which is what will be served.
        exported: How far the two are apart; None where the model is the graph.
        models: Folder or URL of the registry, whose champion is measured on the same rows.
        steps: Of which this is the fifth.
    """
    module, parameters = estimator.load(config)
    step(5, f"evaluate on {len(rows.test)} rows {Split.of(config).test}", steps)
    champion = _champion(rows.test.contract, models)
    others = _others(rows.train, rows.test)
    if champion:
        others["champion"] = champion.predictor.predict(rows.test.numeric, rows.test.categorical)
    refits = list(_refits(module, parameters, config.seed, rows.train, rows.test))
    evaluation = evaluate(config, rows.test, model, others, refits)
    measures = evaluation.measures | {"refused_share": rows.refused_share}
    if exported is not None:
        measures["parity_difference"] = exported.difference
    gates = judge(measures, config.gates)
    for gate in gates:
        print(f"      {gate}")
        if gate.name == "parity_difference" and gate.passed is False:
            print(f"           {exported}")
    facts = origin(config, rows, module) | {
        "test_from": config.test_from,
        "test_share": config.test_share,
        "split_seed": config.seed if config.test_share else None,
        "data_until": rows.until,
        "estimator": config.project.estimator_name,
        "parameters": config.parameters,
        "rows": {"train": len(rows.train), "test": len(rows.test)},
        "metrics": measures,
        "fallback": _fallback(config, rows.train),
        "expected": Expected(
            loss=measures["loss"],
            constant=rows.train.target.mean(axis=0).tolist(),
            slices=config.evaluation.slices,
            decision=config.decision,
        ),
        "reference": Reference.fit(
            config.project.contract,
            rows.train.numeric,
            rows.train.categorical,
            model.predict(rows.train.numeric, rows.train.categorical),
            champion.manifest.reference if champion else None,
        ),
    }
    return Candidate(graph, evaluation, gates, facts)


def made_from(config: TrainingConfig, data: str) -> dict[str, str]:
    """Return the facts of a manifest that are equal when the same model is trained again.

    Args:
        config: What training.toml says.
        data: The fingerprint of the rows.
    """
    return {
        "schema_sha256": config.project.contract.fingerprint,
        "data_sha256": data,
        "config_sha256": config.fingerprint(),
        "code_version": _code_version(),
    }


def origin(config: TrainingConfig, rows: Rows, module: Estimator) -> dict[str, Any]:
    """Return the facts of a manifest that say what a model is made from, and with what."""
    return {**made_from(config, rows.fingerprint), "packages": packages(module)}


def packages(module: Estimator) -> dict[str, str]:
    """Return the versions of the libraries that make a model."""
    return {name: version(name) for name in (*PACKAGES, *module.PACKAGES)}


def conclude(
    candidate: Candidate,
    models: Root,
    log: Log,
    begun: float,
    kind: Literal["train", "optimise"] = "train",
    name: str = "",
) -> registry.Manifest:
    """Register a model, and log the run with what came of it; see `register`.

    Args:
        candidate: The model.
        models: Folder or URL of the registry.
        log: Where the run is logged.
        begun: When it began, by the monotonic clock, seconds.
        kind: What was run.
        name: Of the variant; the estimator's unless one is given.
    """
    facts = candidate.facts

    def done(outcome: str) -> None:
        called = name or facts["estimator"]
        found = facts["parameters"], facts["metrics"]
        seconds = monotonic() - begun
        log.add(describe_run(log.store.project, kind, called, outcome, seconds, facts, *found))

    try:
        manifest = register(log.store.project.contract, candidate, models)
    except GateError:
        done(f"failed {', '.join(gate.name for gate in candidate.failed)}")
        raise
    done(manifest.version)
    return manifest


def register(contract: Contract, candidate: Candidate, models: Root) -> registry.Manifest:
    """Register a model and make it the champion.

    Raises:
        GateError: it does not meet a gate.
    """
    if candidate.failed:
        names = ", ".join(gate.name for gate in candidate.failed)
        raise GateError(f"The model does not meet {names}; see [gates] in {CONFIG}.")
    step(6, f"register in {models}")
    manifest = registry.register(models, candidate.graph, **candidate.facts)
    task = "make optimise" if manifest.variant else "make train"
    registry.promote(contract, models, manifest.version, f"{task}: all gates passed")
    return manifest


def step(number: int, text: str, steps: int = STEPS) -> None:
    """Say what is done now."""
    print(f"[{number}/{steps}] {text}", flush=True)


def _champion(contract: Contract, models: Root) -> Champion | None:
    """Return the model that is served, where it could be asked."""
    try:
        graph, manifest = registry.load(models)
        registry.require_schema(contract, manifest)
    except registry.RegistryError:
        return None
    return Champion(Predictor(contract, graph), manifest)


def _others(train: Dataset, test: Dataset) -> dict[str, Predictions]:
    """Return what models predict for the later rows that any other must be better than."""
    base_rate = train.target.mean(axis=0)
    return {
        "base_rate": np.full((len(test), *test.contract.width), base_rate, np.float32),
        "simple_model": simple.predict(train, test),
    }


def _refits(
    module: Estimator, parameters: Any, seed: int, train: Dataset, test: Dataset
) -> Iterator[Predictions]:
    """Yield what the same estimator predicts, fitted with other seeds on some of the rows."""
    for other in range(seed + 1, seed + SEEDS):
        model = module.fit(without_some(train, other), parameters, other)
        yield model.predict(test.numeric, test.categorical)


def _fallback(config: TrainingConfig, rows: Dataset) -> Fallback | None:
    if config.fallback is None:
        return None
    return Fallback.fit(rows.contract, rows.categorical, rows.target, config.fallback.group_by)


def _code_version() -> str:
    """Return the commit, marked when files were changed since, or "unknown" outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return run.stdout.strip()
