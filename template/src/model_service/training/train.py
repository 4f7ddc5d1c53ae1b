"""Update the data, split, fit, evaluate, export, prove and register: all of `make train`."""

import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from .. import registry, settings
from ..contract import schema_hash
from ..data.pipeline import say, update
from ..data.store import Store, open_store
from ..errors import UserError
from ..fallback import Fallback
from ..monitoring.drift import Reference
from . import estimator
from .config import CONFIG, TrainingConfig, read
from .dataset import fingerprint, split_by_time
from .estimator import Dataset
from .evaluate import Gate, evaluate, judge
from .export import export, parity_difference

PACKAGES = ("numpy", "onnx", "onnxruntime", "polars")


class GateError(UserError):
    """The model does not meet a gate; it was not registered."""


def main() -> int:
    """Train, and promote the model when it meets every gate; return the exit code."""
    try:
        configured = settings.read()
        with open_store(configured) as store:
            manifest = train(read(), store, configured.models_dir, configured.addresses)
    except UserError as error:
        print(f"\nNothing was registered. {error}", file=sys.stderr)
        return 1
    print(f"\n{manifest.version} is the champion now. Next: `make serve`, or `make check`.")
    return 0


def train(
    config: TrainingConfig, store: Store, models: Path, sources: Mapping[str, str] | None = None
) -> registry.Manifest:
    """Run all steps and return the manifest of the new champion.

    Args:
        config: What training.toml says.
        store: The database that takes the rows, and the refused ones with their reasons.
        models: Folder of the registry.
        sources: Addresses of raw tables instead of those in data/raw.py.

    Raises:
        ConfigError: there is no such estimator, or a parameter is wrong.
        DataError: a source cannot be read or does not give the features.
        SplitError: a side of the split cannot be used.
        GateError: the model does not meet a gate.
    """
    module, parameters = estimator.load(config)

    _step(1, "read what is new")
    say(update(store, sources))

    _step(2, f"split the rows at {config.test_from}")
    rows, refused = store.features(), store.refused_shares()
    train_rows, test_rows = split_by_time(rows, config.test_from)

    _step(3, f"fit {config.estimator} on {len(train_rows)} rows before {config.test_from}")
    model = module.fit(train_rows, parameters, config.seed)

    _step(4, f"evaluate on {len(test_rows)} later rows")
    predicted = model.predict(test_rows.numeric, test_rows.categorical)
    metrics = evaluate(train_rows, test_rows, predicted)

    _step(5, "export to ONNX and compare")
    graph = export(model)
    difference = parity_difference(model, graph, test_rows)
    _require(judge(max(refused.values()), metrics, difference, config.gates))

    _step(6, f"register in {models}")
    manifest = registry.register(
        models,
        graph,
        schema_sha256=schema_hash(),
        data_sha256=fingerprint(rows),
        code_version=_code_version(),
        estimator=config.estimator,
        parameters=config.parameters,
        rows={"train": len(train_rows), "test": len(test_rows)},
        metrics={**metrics, "parity_difference": difference},
        fallback=_fallback(config, train_rows),
        reference=Reference.fit(
            train_rows.numeric,
            train_rows.categorical,
            model.predict(train_rows.numeric, train_rows.categorical),
        ),
        packages={name: version(name) for name in (*PACKAGES, *module.PACKAGES)},
    )
    registry.promote(models, manifest.version)
    return manifest


def _fallback(config: TrainingConfig, rows: Dataset) -> Fallback | None:
    if config.fallback is None:
        return None
    return Fallback.fit(rows.categorical, rows.label, config.fallback.group_by)


def _step(number: int, text: str) -> None:
    print(f"[{number}/6] {text}", flush=True)


def _require(gates: list[Gate]) -> None:
    """Print every gate.

    Raises:
        GateError: one is not met.
    """
    for gate in gates:
        mark = "ok  " if gate.passed else "FAIL"
        print(f"      {mark} {gate.name}: {gate.value:.4g} ({gate.condition})")
    failed = [gate.name for gate in gates if not gate.passed]
    if failed:
        raise GateError(f"The model does not meet {', '.join(failed)}; see [gates] in {CONFIG}.")


def _code_version() -> str:
    """Return the commit, marked when files were changed since, or "unknown" outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return run.stdout.strip()
