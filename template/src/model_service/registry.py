"""Model registry: versions in a folder, each with a manifest; an alias names the one to serve.

    models/20260131T120000Z-1f2e3d4c/{model.onnx,manifest.json}
    models/champion                              text: the version, then those that it replaced

A version is whole or absent, and an alias changes in one step, so a reader never sees half of
either.
"""

import argparse
import hashlib
import re
import secrets
import shutil
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from . import settings
from .contract import QUALITY, schema_hash
from .errors import UserError, describe
from .fallback import Fallback
from .monitoring.drift import Reference

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
MAX_HISTORY = 10
VERSION = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


class RegistryError(UserError):
    """The registry does not hold what was asked for."""


class DamagedError(RegistryError):
    """The files of a version are not what was registered."""


class Manifest(BaseModel):
    """What a model is and where it came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    created_at: datetime
    model_sha256: str
    schema_sha256: str = Field(description="Fingerprint of the schema it was trained on.")
    data_sha256: str = Field(description="Fingerprint of the rows it was trained and measured on.")
    config_sha256: str = Field(description="Fingerprint of training.toml.")
    code_version: str = Field(description="Commit of the code, or 'unknown' outside git.")
    estimator: str
    parameters: dict[str, Any]
    rows: dict[str, int] = Field(description="Rows trained on, tested on and quarantined.")
    metrics: dict[str, float] = Field(description="Quality on the months after training.")
    packages: dict[str, str] = Field(description="Versions of the libraries that made it.")
    fallback: Fallback | None = Field(description="What is answered while the model cannot.")
    reference: Reference = Field(description="Where features and predictions lay in training.")


def register(root: Path, model: bytes, **facts: Any) -> Manifest:
    """Store a model as a new version.

    Args:
        root: Folder of the registry; made when it does not exist.
        model: A serialised ONNX graph.
        facts: The fields of `Manifest` that the caller knows.
    """
    created_at = datetime.now(UTC).replace(microsecond=0)
    digest = hashlib.sha256(model).hexdigest()
    version = f"{created_at:%Y%m%dT%H%M%SZ}-{digest[:8]}"
    manifest = Manifest(version=version, created_at=created_at, model_sha256=digest, **facts)
    incoming = root / f".{version}.{secrets.token_hex(4)}"
    incoming.mkdir(parents=True)
    try:
        (incoming / MODEL_FILE).write_bytes(model)
        text = manifest.model_dump_json(indent=2) + "\n"
        (incoming / MANIFEST_FILE).write_text(text, encoding="utf-8")
        if (root / version).exists():  # the same model within the same second
            return load(root, version)[1]
        incoming.rename(root / version)
        return manifest
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def promote(root: Path, version: str, alias: str = "champion") -> None:
    """Point an alias at a version, in one step; it remembers the versions before.

    Raises:
        RegistryError: there is no such version, it is damaged, or of another schema.
    """
    if version not in (known := versions(root)):
        raise RegistryError(
            f"There is no version {version!r} in {root}, only {', '.join(known) or 'none'}."
        )
    require_schema(load(root, version)[1])
    before = history(root, alias) if (root / alias).is_file() else []
    _point(root, alias, [version, *(old for old in before if old != version)])


def rollback(root: Path, alias: str = "champion") -> str:
    """Point an alias at the version that it named before the last promotion, and return that.

    Raises:
        RegistryError: there is no version before, it is damaged, or of another schema.
    """
    now, *before = history(root, alias)
    if not before:
        raise RegistryError(f"No version was {alias!r} before {now}.")
    require_schema(load(root, before[0])[1])
    _point(root, alias, before)
    return before[0]


def versions(root: Path) -> list[str]:
    """Return all versions, the newest first."""
    found = root.iterdir() if root.is_dir() else []
    return sorted((path.name for path in found if VERSION.fullmatch(path.name)), reverse=True)


def _point(root: Path, alias: str, named: list[str]) -> None:
    incoming = root / f".{alias}.{secrets.token_hex(4)}"
    incoming.write_text("\n".join(named[:MAX_HISTORY]) + "\n", encoding="utf-8")
    incoming.replace(root / alias)


def history(root: Path, name: str = "champion") -> list[str]:
    """Return the version behind an alias, then those that it replaced; a version stands for itself.

    Raises:
        RegistryError: there is neither such an alias nor such a version.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        if (root / name).is_dir():
            return [name]
        if named := (root / name).read_text(encoding="utf-8").split():
            return named
    raise RegistryError(f"No model {name!r} in {root}: train one with `make train`.")


def load(root: Path, name: str = "champion") -> tuple[bytes, Manifest]:
    """Return the model behind an alias or a version.

    Raises:
        RegistryError: there is no such model.
        DamagedError: its files are not what was registered.
    """
    version = history(root, name)[0]
    manifest = read_manifest(root, version)
    try:
        model = (root / version / MODEL_FILE).read_bytes()
    except FileNotFoundError:
        raise DamagedError(f"{root / version / MODEL_FILE} is missing.") from None
    if hashlib.sha256(model).hexdigest() != manifest.model_sha256:
        raise DamagedError(f"{root / version / MODEL_FILE} was changed after it was registered.")
    return model, manifest


def read_manifest(root: Path, version: str) -> Manifest:
    """Return what is known of a version.

    Raises:
        RegistryError: there is no such version.
        DamagedError: its manifest cannot be read.
    """
    path = root / version / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RegistryError(
            f"No model {version!r} in {root}: train one with `make train`."
        ) from None
    except ValidationError as error:
        raise DamagedError(f"{path} is damaged: {describe(error)}") from None


def require_schema(manifest: Manifest) -> None:
    """Make sure that a model was trained on the schema of this code.

    Raises:
        RegistryError: it was trained on another one.
    """
    if manifest.schema_sha256 != schema_hash():
        raise RegistryError(
            f"Model {manifest.version} was trained on another schema. Train again: `make train`."
        )


def main() -> int:
    """List, promote or roll back: `make models`, `promote`, `rollback`; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model_service.registry")
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("list", help="show every version")
    commands.add_parser("promote", help="serve a version").add_argument("version", nargs="?")
    commands.add_parser("rollback", help="serve the version before")
    arguments = parser.parse_args()
    try:
        root = settings.read().models_dir
        if arguments.command == "list":
            return _list(root)
        if arguments.command == "rollback":
            rollback(root)
        elif arguments.version:
            promote(root, arguments.version)
        else:
            raise RegistryError("Say which version: make promote VERSION=... (make models)")
    except UserError as error:
        print(f"Nothing was changed. {error}", file=sys.stderr)
        return 1
    champion, *before = history(root)
    print(f"{champion} is the champion now. Running services take it within two seconds.")
    print(f"Before it: {', '.join(before) or 'nothing'}")
    return 0


def _list(root: Path) -> int:
    champions = history(root) if (root / "champion").is_file() else []
    places = dict(zip(champions, ("champion", "before it"), strict=False))
    for version in versions(root):
        manifest = read_manifest(root, version)
        schema = "" if manifest.schema_sha256 == schema_hash() else "another schema"
        quality = f"{QUALITY.upper()} {manifest.metrics.get(QUALITY, float('nan')):.4f}"
        told = (version, quality, manifest.estimator, places.get(version), schema)
        print("  ".join(filter(None, told)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
