"""Model registry: versions in a folder or in object storage; aliases name those in use.

    models/20260131T120000Z-1f2e3d4c/{model.onnx,manifest.json}
    models/champion                              JSON lines: who named which version, when and why
    models/challenger

A version is whole or absent, and an alias changes in one step, so a reader never sees half of
either. The first line of an alias says all that a reader needs; below it are the changes before.
"""

import getpass
import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from . import storage
from .contract import Contract
from .errors import UserError, describe
from .fallback import Fallback
from .monitoring.drift import Reference
from .monitoring.quality import Expected
from .storage import Root

CHAMPION, CHALLENGER = "champion", "challenger"
"""The version that is served, and the one that would replace it."""
MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
MAX_HISTORY = 10
MAX_CHANGES = 1_000
TIME_FORMAT = "%Y%m%dT%H%M%SZ"
VERSION = r"^\d{8}T\d{6}Z-[0-9a-f]{8}$"
AUTHORS = ("WHO", "GITHUB_ACTOR", "GITLAB_USER_LOGIN")
"""Variables that say who does something, in CI too."""


class RegistryError(UserError):
    """The registry does not hold what was asked for."""


class DamagedError(RegistryError):
    """The files of a version are not what was registered."""


class Manifest(BaseModel):
    """What a model is and where it came from; later versions of the library may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: str
    created_at: datetime
    model_sha256: str
    schema_sha256: str = Field(description="Fingerprint of the schema it was trained on.")
    data_sha256: str = Field(description="Fingerprint of the rows it was trained and measured on.")
    config_sha256: str = Field(description="Fingerprint of training.toml.")
    code_version: str = Field(description="Commit of the code, or 'unknown' outside git.")
    estimator: str
    parameters: dict[str, Any]
    test_from: date | None = Field(description="The day, in UTC, before which it was trained.")
    test_share: float | None = Field(
        default=None, description="Share of the rows that it was measured on, if not by a day."
    )
    split_seed: int | None = Field(default=None, description="By which those were drawn.")
    data_until: datetime | None = Field(
        description="Time of the newest row that it was measured on, where rows know one."
    )
    variant: str = Field(default="", description="Why `make optimise` chose it, if it did.")
    rows: dict[str, int] = Field(description="Rows trained on, tested on and quarantined.")
    metrics: dict[str, float] = Field(description="Quality on the rows for evaluation.")
    packages: dict[str, str] = Field(description="Versions of the libraries that made it.")
    fallback: Fallback | None = Field(description="What is answered while the model cannot.")
    reference: Reference = Field(description="Where features and predictions lay in training.")
    expected: Expected | None = Field(
        default=None, description="What is expected of its predictions when their labels come."
    )


class Change(BaseModel):
    """What an alias came to name, who named it and why; a line in its file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = Field(pattern=VERSION)
    before: list[str] = Field(description="What a rollback goes back to, the latest first.")
    when: datetime
    who: str
    why: str = Field(min_length=1)


def register(root: Root, model: bytes, **facts: Any) -> Manifest:
    """Store a model as a new version.

    Args:
        root: Folder or URL of the registry; made when it does not exist.
        model: A serialised ONNX graph.
        facts: The fields of `Manifest` that the caller knows.

    Raises:
        StorageError: the storage cannot be reached.
    """
    digest = hashlib.sha256(model).hexdigest()
    while True:
        created_at = _next_time(root)
        version = f"{created_at:{TIME_FORMAT}}-{digest[:8]}"
        manifest = Manifest(version=version, created_at=created_at, model_sha256=digest, **facts)
        text = manifest.model_dump_json(indent=2) + "\n"
        try:
            storage.write_folder(root, version, {MODEL_FILE: model, MANIFEST_FILE: text.encode()})
        except FileExistsError:  # another process has registered the same graph in this second
            continue
        return manifest


def _next_time(root: Root) -> datetime:
    """Return the time that names a new version: later than that of every other, by seconds."""
    now = datetime.now(UTC).replace(microsecond=0)
    newest = next(iter(versions(root)), None)
    if newest is None:
        return now
    last = datetime.strptime(newest.partition("-")[0], TIME_FORMAT).replace(tzinfo=UTC)
    return max(now, last + timedelta(seconds=1))


def promote(
    contract: Contract,
    root: Root,
    version: str,
    why: str,
    who: str | None = None,
    alias: str = CHAMPION,
) -> None:
    """Point an alias at a version, in one step; it remembers the versions before.

    Args:
        contract: The schema that the version must have been trained on.
        root: Folder or URL of the registry.
        version: Which one.
        why: The reason, for those who ask later.
        who: Who decided; found out when it is not given.
        alias: The name.

    Raises:
        RegistryError: there is no such version, it is damaged, or of another schema.
        ChangedError: somebody else changes the alias at the same moment.
    """
    if version not in (known := versions(root)):
        raise RegistryError(
            f"There is no version {version!r} in {root}, only {', '.join(known) or 'none'}."
        )
    require_schema(contract, load(root, version)[1])
    seen = storage.read_or_none(root, alias)
    log = _changes(root, alias, seen)
    named = [log[0].version, *log[0].before] if log else []
    # A version may stand there twice: a rollback goes back as the promotions came.
    _point(root, alias, seen, [version, *named[named[:1] == [version] :]], why, who)


def rollback(
    contract: Contract, root: Root, why: str, who: str | None = None, alias: str = CHAMPION
) -> str:
    """Point an alias at the version that it named before the last promotion, and return that.

    Raises:
        RegistryError: there is no version before, it is damaged, or of another schema.
        ChangedError: somebody else changes the alias at the same moment.
    """
    seen = storage.read_or_none(root, alias)
    now, *before = history(root, alias)
    if not before:
        raise RegistryError(f"No version was {alias!r} before {now}.")
    require_schema(contract, load(root, before[0])[1])
    _point(root, alias, seen, before, why, who)
    return before[0]


def versions(root: Root) -> list[str]:
    """Return all versions, the newest first."""
    found = storage.find(root, MANIFEST_FILE)
    return sorted((name for name in found if re.match(VERSION, name)), reverse=True)


def _point(
    root: Root, alias: str, seen: bytes | None, named: Sequence[str], why: str, who: str | None
) -> None:
    version, *before = named[:MAX_HISTORY]
    now = datetime.now(UTC).replace(microsecond=0)
    about = {"version": version, "before": before, "when": now, "who": who or author(), "why": why}
    try:
        change = Change.model_validate(about)
    except ValidationError as error:
        raise RegistryError(f"{describe(error)}.") from None
    lines = [change.model_dump_json().encode(), *(seen or b"").splitlines()][:MAX_CHANGES]
    storage.replace(root, alias, b"\n".join(lines) + b"\n", seen)


def changes(root: Root, alias: str = CHAMPION) -> list[Change]:
    """Return all that an alias has named, the newest first; nothing where there is no such alias.

    Raises:
        DamagedError: its file is not what was written.
    """
    return _changes(root, alias, storage.read_or_none(root, alias))


def _changes(root: Root, alias: str, content: bytes | None) -> list[Change]:
    if content == b"":
        raise DamagedError(f"{root}/{alias} is damaged: it is empty.")
    return [_change(root, alias, line) for line in (content or b"").splitlines()]


def history(root: Root, name: str = CHAMPION) -> list[str]:
    """Return the version behind an alias, then those that it replaced; a version stands for itself.

    Raises:
        RegistryError: there is neither such an alias nor such a version.
    """
    if re.match(VERSION, name):
        return [name]
    content = storage.read_or_none(root, name)
    if content is None:
        raise RegistryError(f"No model {name!r} in {root}: train one with `make train`.")
    now = _change(root, name, content.partition(b"\n")[0])
    return [now.version, *now.before]


def _change(root: Root, alias: str, line: bytes) -> Change:
    try:
        return Change.model_validate_json(line)
    except ValidationError as error:
        raise DamagedError(f"{root}/{alias} is damaged: {describe(error)}") from None


def load(root: Root, name: str = CHAMPION) -> tuple[bytes, Manifest]:
    """Return the model behind an alias or a version.

    Raises:
        RegistryError: there is no such model.
        DamagedError: its files are not what was registered.
    """
    version = history(root, name)[0]
    manifest = read_manifest(root, version)
    path = f"{version}/{MODEL_FILE}"
    try:
        model = storage.read(root, path)
    except FileNotFoundError:
        raise DamagedError(f"{root}/{path} is missing.") from None
    if hashlib.sha256(model).hexdigest() != manifest.model_sha256:
        raise DamagedError(f"{root}/{path} was changed after it was registered.")
    return model, manifest


def read_manifest(root: Root, version: str) -> Manifest:
    """Return what is known of a version.

    Raises:
        RegistryError: there is no such version.
        DamagedError: its manifest cannot be read.
    """
    path = f"{version}/{MANIFEST_FILE}"
    try:
        return Manifest.model_validate_json(storage.read(root, path))
    except FileNotFoundError:
        raise RegistryError(
            f"No model {version!r} in {root}: train one with `make train`."
        ) from None
    except ValidationError as error:
        raise DamagedError(f"{root}/{path} is damaged: {describe(error)}") from None


def require_schema(contract: Contract, manifest: Manifest) -> None:
    """Make sure that a model was trained on the schema of this code.

    Raises:
        RegistryError: it was trained on another one.
    """
    if manifest.schema_sha256 != contract.fingerprint:
        raise RegistryError(
            f"Model {manifest.version} was trained on another schema. Use it with the code of "
            f"then ({manifest.code_version}), or train with this code: `make train`. A service "
            "that runs must be started again."
        )


def author() -> str:
    """Return who runs this: as a variable says, or git, or the system."""
    for name in AUTHORS:
        if given := os.environ.get(name):
            return given
    with suppress(OSError, subprocess.CalledProcessError):
        command = ["git", "config", "user.name"]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        if given := run.stdout.strip():
            return given
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container, a user may have a number only
        return f"user {os.getuid()}"


def export(contract: Contract, root: Root, target: Path) -> str:
    """Copy the champion into a registry of its own, without what was before it; return it.

    Raises:
        RegistryError: there is none, it is damaged, or of another schema.
    """
    model, manifest = load(root)
    require_schema(contract, manifest)
    text = storage.read(root, f"{manifest.version}/{MANIFEST_FILE}")
    if manifest.version not in versions(target):
        storage.write_folder(target, manifest.version, {MODEL_FILE: model, MANIFEST_FILE: text})
    now = changes(root)[0].model_copy(update={"before": []})
    storage.write(target, CHAMPION, now.model_dump_json().encode())
    return manifest.version
