"""The registry by hand: list the models, name the champion or the challenger, copy it."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import registry, settings, storage
from .contract import Contract
from .errors import UserError
from .project import Project
from .registry import CHALLENGER, CHAMPION, Change, DamagedError, RegistryError
from .storage import Root

SHOWN = 10


def show(project: Project) -> int:
    """Print the aliases and every version; return the exit code."""
    try:
        print("\n".join(_listed(project.contract, settings.read().models_dir)))
    except UserError as error:
        return _refuse(error)
    return 0


def promote(project: Project, version: str, alias: str, why: str) -> int:
    """Point an alias at a version, and print what came of it; return the exit code."""
    try:
        if not version:
            raise RegistryError(
                'Say which version: make promote VERSION=... WHY="..." (make models)'
            )
        root = _root_for(why, "promote")
        registry.promote(project.contract, root, version, why, alias=alias)
        _print(_named(root, alias))
    except UserError as error:
        return _refuse(error)
    return 0


def rollback(project: Project, alias: str, why: str) -> int:
    """Point an alias at the version before, and print what came of it; return the exit code."""
    try:
        root = _root_for(why, "rollback")
        registry.rollback(project.contract, root, why, alias=alias)
        _print([*_named(root, alias), _undo(root, alias)])
    except UserError as error:
        return _refuse(error)
    return 0


def export(project: Project, folder: Path) -> int:
    """Copy the champion into a registry of its own; return the exit code."""
    try:
        root = settings.read().models_dir
        if folder == Path() or str(folder) == str(root):
            raise RegistryError("Say which folder, other than the registry: chassis export FOLDER")
        version = registry.export(project.contract, root, folder)
    except UserError as error:
        return _refuse(error)
    print(f"{version} was copied to {folder}.")
    return 0


def _root_for(why: str, task: str) -> Root:
    if not why:
        raise RegistryError(f'Say why, for those who ask later: make {task} ... WHY="..."')
    return settings.read().models_dir


def _named(root: Root, alias: str) -> Iterator[str]:
    named, *before = registry.history(root, alias)
    soon = "two" if storage.folder(root) else "twenty"
    served = "Running services" if alias == CHAMPION else f"Services of MODEL_SERVICE_ALIAS={alias}"
    yield f"{named} is the {alias} now. {served} take it within {soon} seconds."
    yield f"Before it: {', '.join(before) or 'nothing'}"


def _undo(root: Root, alias: str) -> str:
    other = "" if alias == CHAMPION else f" ALIAS={alias}"
    _, before, *_ = registry.changes(root, alias)
    return f'Undo it: make promote VERSION={before.version}{other} WHY="..."'


def _listed(contract: Contract, root: Root) -> Iterator[str]:
    logs = {alias: registry.changes(root, alias) for alias in (CHAMPION, CHALLENGER)}
    for alias, log in logs.items():
        yield f"{alias:10}  {_told(log[0]) if log else 'none'}"
    yield ""
    places = {log[0].version: alias for alias, log in reversed(logs.items()) if log}
    for version in registry.versions(root):
        try:
            manifest = registry.read_manifest(root, version)
        except DamagedError:
            yield f"{version}  DAMAGED"
            continue
        schema = "" if manifest.schema_sha256 == contract.fingerprint else "another schema"
        measured = manifest.metrics.get(contract.quality, float("nan"))
        quality = f"{contract.quality.upper()} {measured:.4f}"
        told = (version, quality, manifest.estimator, places.get(version), schema)
        yield "  ".join(filter(None, told))
    if before := logs[CHAMPION][1:]:
        last = f", the last {SHOWN} of {len(before)}" if len(before) > SHOWN else ""
        yield f"\nchampions before{last}:"
        yield from map(_told, before[:SHOWN])


def _told(change: Change) -> str:
    return f"{change.version}  {change.when:%Y-%m-%d %H:%M} UTC  {change.who}: {change.why}"


def _print(lines: Iterable[str]) -> None:
    print("\n".join(lines))


def _refuse(error: UserError) -> int:
    print(f"Nothing was changed. {error}", file=sys.stderr)
    return 1
