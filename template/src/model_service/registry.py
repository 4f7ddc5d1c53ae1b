"""Model registry: versions in a folder, each with a manifest; an alias names the one to serve.

    models/20260131T120000Z-1f2e3d4c/{model.onnx,manifest.json}
    models/champion                                              text: the version

A version is whole or absent, and an alias changes in one step, so a reader never sees half of
either.
"""

import hashlib
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .contract import schema_hash
from .errors import UserError, describe

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"


class RegistryError(UserError):
    """The registry does not hold what was asked for, or its files were changed."""


class Manifest(BaseModel):
    """What a model is and where it came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    created_at: datetime
    model_sha256: str
    schema_sha256: str = Field(description="Fingerprint of the schema it was trained on.")
    data_sha256: str = Field(description="Fingerprint of the raw tables it was trained on.")
    code_version: str = Field(description="Commit of the code, or 'unknown' outside git.")
    estimator: str
    parameters: dict[str, Any]
    rows: dict[str, int] = Field(description="Rows trained on, tested on and quarantined.")
    metrics: dict[str, float] = Field(description="Quality on the months after training.")
    packages: dict[str, str] = Field(description="Versions of the libraries that made it.")


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
    """Point an alias at a version, in one step.

    Raises:
        RegistryError: there is no such version, or it is damaged.
    """
    load(root, version)
    incoming = root / f".{alias}.{secrets.token_hex(4)}"
    incoming.write_text(version + "\n", encoding="utf-8")
    incoming.replace(root / alias)


def load(root: Path, name: str = "champion") -> tuple[bytes, Manifest]:
    """Return the model behind an alias or a version.

    Raises:
        RegistryError: there is no such model, or its files do not match the manifest.
    """
    try:
        alias = root / name
        version = alias.read_text(encoding="utf-8").strip() if alias.is_file() else name
        folder = root / version
        model = (folder / MODEL_FILE).read_bytes()
        text = (folder / MANIFEST_FILE).read_text(encoding="utf-8")
        manifest = Manifest.model_validate_json(text)
    except (FileNotFoundError, NotADirectoryError):
        raise RegistryError(f"No model {name!r} in {root}: train one with `make train`.") from None
    except ValidationError as error:
        raise RegistryError(f"{folder / MANIFEST_FILE} is damaged: {describe(error)}") from None
    if hashlib.sha256(model).hexdigest() != manifest.model_sha256:
        raise RegistryError(f"{folder / MODEL_FILE} was changed after it was registered.")
    return model, manifest


def require_schema(manifest: Manifest) -> None:
    """Make sure that a model was trained on the schema of this code.

    Raises:
        RegistryError: it was trained on another one.
    """
    if manifest.schema_sha256 != schema_hash():
        raise RegistryError(
            f"Model {manifest.version} was trained on another schema. Train again: `make train`."
        )
