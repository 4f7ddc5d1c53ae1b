"""Train on new data and challenge the champion: `make retrain`, for a scheduler or a person.

What is done already follows from the database and the registry, so a run that was interrupted is
finished by the next one, and a run without new data ends at once.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from time import monotonic
from typing import Any, cast

import polars as pl

from .. import registry, settings, slo, storage
from ..contract import Contract
from ..data.lock import BusyError
from ..data.pipeline import say, update
from ..data.store import Store, open_store
from ..errors import UserError
from ..measures import measures_of
from ..project import Project
from ..registry import CHALLENGER, CHAMPION, DamagedError, Manifest, RegistryError
from ..reports.page import write
from ..serving.predictor import Predictor
from ..storage import Root
from . import RETRAINING, card, estimator, report, retraining_report
from .candidate import Candidate
from .comparison import compare
from .config import GAIN_OVER_CHAMPION, TrainingConfig, read
from .dataset import fingerprint, to_dataset
from .gates import judge
from .log import Log, Run, describe_run, environment, open_log
from .result import EXIT_CODES, Result
from .shift import Shift, shifts
from .split import Split
from .train import Champion, fit, made_from, packages, split, step

FOLDER = RETRAINING
STEPS = 7
MISSED = "failed "
RECENT = 50
"""Versions among which one of the same data is looked for."""
COMPARISON_FILE = "comparison.json"
"""Beside the model in the registry: what came of comparing it with the champion."""


class RetrainingError(UserError):
    """The registry or the data are not as they must be."""


def run(project: Project) -> int:
    """Retrain, and write what came of it; return the exit code."""
    result = Result()
    try:
        configured, config = settings.read(), read(project)
        storage.require_writable(configured.models_dir)
        with open_store(project, configured) as store, store.only_one("retraining"):
            result.write(FOLDER / "result.json")  # in case that this process is killed
            log = open_log(store, configured)
            retrain(config, store, configured.models_dir, result, configured.addresses, log)
            _write(project, result)
    except BusyError as busy:
        print(f"Nothing was done. {busy}")
        return 0
    except UserError as error:
        result.end("failed", str(error))
        _write(project, result)
    except BaseException as error:
        result.end("failed", f"{type(error).__name__}: {error}")
        _write(project, result)
        raise
    return EXIT_CODES[result.outcome]


def retrain(
    config: TrainingConfig,
    store: Store,
    models: Root,
    result: Result,
    sources: Mapping[str, str] | None = None,
    log: Log | None = None,
) -> None:
    """Run all steps.

    Args:
        config: What training.toml says, of which the day of the split is replaced: the newest days
            with labels are kept for evaluation.
        store: The database.
        models: Folder or URL of the registry.
        result: What came of it, filled in step by step.
        sources: Addresses of raw tables instead of those that the project names.
        log: Where the training is logged; in the database, unless another one is given.

    Raises:
        ConfigError: a parameter is wrong.
        DataError: a source cannot be read or does not give the features.
        RegistryError: a model is damaged, or was replaced meanwhile.
        SplitError: a side of the split cannot be used.
    """
    module, _ = estimator.load(config)
    log = log or Log(store)
    step(1, "read what is new", STEPS)
    done = update(config.project, store, sources)
    say(done)
    contract = config.project.contract
    rows, champion = store.features(), _champion(contract, models)
    result.read, result.rows = done.read, rows.height
    if champion:
        result.champion = champion.manifest.version
        result.drift = _drift(config.project, champion, rows)
    config = _with_unseen_rows(config, rows, champion)
    result.evaluated_from, result.evaluated_on = config.test_from, Split.of(config).test
    result.new_rows = rows.height - _known_rows(models, champion)

    facts = made_from(config, fingerprint(rows))
    challenger = _registered(models, facts)
    if challenger and _is_decided(models, challenger.version, champion):
        result.challenger = challenger.version
        result.end("nothing_new", f"{challenger.version} was trained on the same rows, and judged")
    elif not challenger and champion and result.new_rows < config.retraining.minimum_new_rows:
        asked = config.retraining.minimum_new_rows
        result.end("nothing_new", f"{result.new_rows} new rows; training asks for {asked}")
    elif not challenger and (missed := _missed(store, log, facts, packages(module))):
        result.end("nothing_new", missed)
    else:
        challenger = challenger or _train(config, store, models, result, log)
        if challenger:
            _challenge(config, models, rows, champion, challenger, result)


def _champion(contract: Contract, models: Root) -> Champion | None:
    """Return the model that is served, or None where there is none that this code could serve."""
    if not registry.changes(models):
        return None
    graph, manifest = registry.load(models)
    if manifest.schema_sha256 != contract.fingerprint:
        return None
    return Champion(Predictor(contract, graph), manifest)


def _drift(project: Project, champion: Champion, rows: pl.DataFrame) -> list[Shift]:
    """Compare rows about a time after those of the champion with those that it was trained on."""
    until = champion.manifest.data_until
    time = project.time
    new = rows.filter(pl.col(time) > until) if time and until else rows.clear()
    if not new.height:
        return []
    data = to_dataset(project, new)
    predicted = champion.predictor.predict(data.numeric, data.categorical)
    trained = champion.manifest.rows["train"]
    inputs = data.numeric, data.categorical
    least = slo.read().drift.psi
    return shifts(data.contract, champion.manifest.reference, trained, *inputs, predicted, least)


def _with_unseen_rows(
    config: TrainingConfig, rows: pl.DataFrame, champion: Champion | None
) -> TrainingConfig:
    """Move the split, so that neither model has been trained on the rows of the evaluation.

    Raises:
        RetrainingError: no split does that.
    """
    known, time = champion.manifest if champion else None, config.project.time
    if known and (known.test_from is None) != (time is None):
        raise RetrainingError(
            "The champion was trained when rows were split by time, and now they are not, or the "
            "other way round, so it may know the rows of the evaluation: make train."
        )
    if time:
        first = _first_day(config, rows[time])
        if known and known.test_from:
            first = max(first, known.test_from)
        return config.model_copy(update={"test_from": first})
    if known and known.split_seed != config.seed:
        raise RetrainingError(
            f"The champion was trained with seed = {known.split_seed}, and so knows rows of the "
            f"evaluation that {config.seed} draws: set it back in training.toml, or make train."
        )
    shares = (config.test_share, known.test_share if known else None)
    return config.model_copy(update={"test_share": min(filter(None, shares))})


def _first_day(config: TrainingConfig, times: pl.Series) -> date:
    """Return the first of the newest days, which are kept for evaluation."""
    days = times.dt.date().unique().sort()
    asked = config.retraining.evaluation_days
    if len(days) <= asked:
        raise RetrainingError(
            f"There are labels of {len(days)} days, of which evaluation_days in training.toml "
            f"keeps {asked}: nothing is left to train on."
        )
    return cast(date, days[-asked])


def _known_rows(models: Root, champion: Champion | None) -> int:
    """Return how many rows the champion, or a challenger that it has beaten, was made from."""
    known = [champion.manifest] if champion else []
    for change in registry.changes(models, CHALLENGER)[:1]:
        if _is_decided(models, change.version, champion):
            known.append(registry.read_manifest(models, change.version))
    return max((each.rows["train"] + each.rows["test"] for each in known), default=0)


def _registered(models: Root, facts: Mapping[str, str]) -> Manifest | None:
    """Return the newest version that was made from the same."""
    for version in registry.versions(models)[:RECENT]:
        with suppress(DamagedError):
            manifest = registry.read_manifest(models, version)
            if all(getattr(manifest, name) == value for name, value in facts.items()):
                return manifest
    return None


def _is_decided(models: Root, version: str, champion: Champion | None) -> bool:
    """Return whether a version was promoted once, or was refused for the champion of now."""
    if any(change.version == version for change in registry.changes(models)):
        return True
    try:
        judged = json.loads(storage.read(models, f"{version}/{COMPARISON_FILE}"))
    except FileNotFoundError:
        return False
    now = champion.manifest.version if champion else None
    return bool(judged["outcome"] == "refused" and judged["champion"] == now)


def _missed(store: Store, log: Log, facts: Mapping[str, str], libraries: Mapping[str, str]) -> str:
    """Return which gates a training from the same missed, or "" where there was none."""
    # The environment holds the source, which tells more than the commit: what is not committed.
    same: dict[str, Any] = {
        **facts,
        "kind": "retrain",
        "environment": environment(store.project, libraries),
    }
    del same["code_version"]
    refused_share = max(store.refused_shares().values())
    for run in reversed(log.read()):
        if (
            run.outcome.startswith(MISSED)
            and all(getattr(run, name) == value for name, value in same.items())
            and run.measures["refused_share"] == refused_share
        ):
            gates = run.outcome.removeprefix(MISSED)
            return f"all is as at {run.at:%Y-%m-%d %H:%M} UTC, when the model did not meet {gates}"
    return ""


def _train(
    config: TrainingConfig, store: Store, models: Root, result: Result, log: Log
) -> Manifest | None:
    """Fit and register the challenger; or None, if it misses a gate that needs no champion."""
    begun = monotonic()
    candidate = fit(config, split(config, store, STEPS), models, STEPS)
    write(FOLDER / "training.html", report.render(config, candidate))
    result.gates = candidate.gates
    if failed := [gate.name for gate in candidate.failed if gate.name != GAIN_OVER_CHAMPION]:
        log.add(_run(config.project, candidate, f"{MISSED}{', '.join(failed)}", begun))
        result.end("refused", f"the model does not meet {', '.join(failed)}")
        return None
    step(6, f"register the challenger in {models}", STEPS)
    manifest = registry.register(models, candidate.graph, **candidate.facts)
    log.add(_run(config.project, candidate, manifest.version, begun))
    _write_card(config, candidate, manifest)
    return manifest


def _run(project: Project, candidate: Candidate, outcome: str, begun: float) -> Run:
    facts = candidate.facts
    found = facts["parameters"], facts["metrics"]
    seconds = monotonic() - begun
    return describe_run(project, "retrain", facts["estimator"], outcome, seconds, facts, *found)


def _write_card(config: TrainingConfig, candidate: Candidate, manifest: Manifest) -> None:
    """Write the model card of the challenger; that in docs/ belongs to the commit."""
    if card.CARD.exists():
        write(FOLDER / "model-card.md", card.CARD.read_text(encoding="utf-8"))
        card.write(config, candidate, manifest, FOLDER / "model-card.md")


def _challenge(
    config: TrainingConfig,
    models: Root,
    rows: pl.DataFrame,
    champion: Champion | None,
    challenger: Manifest,
    result: Result,
) -> None:
    """Compare the challenger with the champion, and promote it or say why not."""
    version = result.challenger = challenger.version
    measures = {
        name: value for name, value in challenger.metrics.items() if name != GAIN_OVER_CHAMPION
    }
    contract = config.project.contract
    _name_challenger(contract, models, challenger)
    if champion:
        step(7, f"compare it with the champion, {champion.manifest.version}", STEPS)
        _, newest = Split.of(config).divide(rows)
        graph, _ = registry.load(models, version)
        predictors = (champion.predictor, Predictor(contract, graph))
        result.comparison = compare(
            newest, *(each.predict(newest.numeric, newest.categorical) for each in predictors)
        )
        measures[GAIN_OVER_CHAMPION] = result.comparison.gain.low
    result.gates = judge(measures, config.gates)
    failed = ", ".join(str(gate) for gate in result.gates if gate.passed is False)
    if failed:
        result.end("refused", f"{_in_words(contract, result)}: {failed.removeprefix('FAIL ')}")
    else:
        result.end("promoted", _in_words(contract, result))
    storage.write(models, f"{version}/{COMPARISON_FILE}", result.model_dump_json().encode())
    if not failed:
        _promote(contract, models, champion, version, result)


def _name_challenger(contract: Contract, models: Root, challenger: Manifest) -> None:
    now = registry.changes(models, CHALLENGER)
    if not now or now[0].version != challenger.version:
        why = f"make retrain: trained on {challenger.rows['train']} rows"
        registry.promote(contract, models, challenger.version, why, alias=CHALLENGER)


def _promote(
    contract: Contract, models: Root, champion: Champion | None, version: str, result: Result
) -> None:
    now = registry.changes(models)
    if champion and now[0].version != champion.manifest.version:
        raise RegistryError(
            f"{now[0].version} became the champion meanwhile, so nothing was promoted: "
            "run it again."
        )
    why = f"make retrain: {result.reason}"
    registry.promote(contract, models, version, why, result.who, CHAMPION)


def _in_words(contract: Contract, result: Result) -> str:
    if not (found := result.comparison):
        return "all gates passed, and there was no champion to compare with"
    gain, loss = found.gain, measures_of(contract.task).loss_words
    lower = f"lower by {gain.value:.4f} ({gain.low:.4f} to {gain.high:.4f})"
    higher = f"higher by {-gain.value:.4f} ({-gain.high:.4f} to {-gain.low:.4f})"
    return (
        f"{loss} {lower if gain.value >= 0 else higher} than that of {result.champion}, "
        f"on {found.rows} rows {result.evaluated_on}"
    )


def _write(project: Project, result: Result) -> None:
    """Write the file and the page, and say where they are."""
    by = measures_of(project.contract.task)
    result.write(FOLDER / "result.json")
    write(FOLDER / "report.html", retraining_report.render(by, result))
    told = sys.stderr if result.outcome == "failed" else sys.stdout
    print(f"\n{result.outcome.replace('_', ' ').capitalize()}: {result.reason}.", file=told)
    print(f"All of it: {FOLDER}/report.html; for programs: {FOLDER}/result.json", file=told)
