"""Versions are whole, aliases change in one step, and nothing tampered is served."""

from pathlib import Path
from typing import Any

import pytest

from model_service import registry
from model_service.contract import schema_hash
from model_service.registry import RegistryError

FACTS: dict[str, Any] = {
    "schema_sha256": schema_hash(),
    "data_sha256": "d",
    "config_sha256": "c",
    "code_version": "unknown",
    "estimator": "none",
    "parameters": {},
    "rows": {},
    "metrics": {},
    "packages": {},
    "fallback": None,
    "reference": {"numeric": {}, "categorical": {}, "prediction": {"edges": [], "share": []}},
}


def test_what_was_promoted_is_loaded(tmp_path: Path) -> None:
    first = registry.register(tmp_path, b"first", **FACTS)
    second = registry.register(tmp_path, b"second", **FACTS)

    registry.promote(tmp_path, first.version)
    assert registry.load(tmp_path) == (b"first", first)
    registry.promote(tmp_path, second.version)
    assert registry.load(tmp_path) == (b"second", second)


def test_a_promotion_can_be_rolled_back(tmp_path: Path) -> None:
    first = registry.register(tmp_path, b"first", **FACTS)
    second = registry.register(tmp_path, b"second", **FACTS)
    registry.promote(tmp_path, first.version)
    registry.promote(tmp_path, second.version)

    assert registry.history(tmp_path) == [second.version, first.version]
    assert registry.rollback(tmp_path) == first.version
    assert registry.load(tmp_path) == (b"first", first)
    with pytest.raises(RegistryError, match="No version was 'champion' before"):
        registry.rollback(tmp_path)


def test_a_promotion_that_is_repeated_forgets_nothing(tmp_path: Path) -> None:
    first = registry.register(tmp_path, b"first", **FACTS)
    second = registry.register(tmp_path, b"second", **FACTS)
    for version in (first.version, second.version, second.version):
        registry.promote(tmp_path, version)

    assert registry.history(tmp_path) == [second.version, first.version]


def test_registering_does_not_change_what_is_served(tmp_path: Path) -> None:
    champion = registry.register(tmp_path, b"champion", **FACTS)
    registry.promote(tmp_path, champion.version)

    registry.register(tmp_path, b"newer", **FACTS)

    assert registry.load(tmp_path)[1] == champion


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="estimator"):
        registry.register(tmp_path, b"model", **{**FACTS, "estimator": None})

    assert list(tmp_path.iterdir()) == []


def test_a_changed_model_is_refused(tmp_path: Path) -> None:
    manifest = registry.register(tmp_path, b"model", **FACTS)
    (tmp_path / manifest.version / registry.MODEL_FILE).write_bytes(b"another")

    with pytest.raises(RegistryError, match="changed after it was registered"):
        registry.promote(tmp_path, manifest.version)
    assert not (tmp_path / "champion").exists()


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    manifest = registry.register(tmp_path, b"model", **FACTS)
    (tmp_path / manifest.version / registry.MANIFEST_FILE).write_text("{}", encoding="utf-8")

    with pytest.raises(RegistryError, match="damaged"):
        registry.load(tmp_path, manifest.version)


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="make train"):
        registry.load(tmp_path)


def test_a_model_of_another_schema_is_refused(tmp_path: Path) -> None:
    manifest = registry.register(tmp_path, b"model", **{**FACTS, "schema_sha256": "another"})

    with pytest.raises(RegistryError, match="another schema"):
        registry.require_schema(manifest)
    with pytest.raises(RegistryError, match="another schema"):
        registry.promote(tmp_path, manifest.version)


def test_a_rollback_to_another_schema_changes_nothing(tmp_path: Path) -> None:
    old = registry.register(tmp_path, b"old", **FACTS)
    new = registry.register(tmp_path, b"new", **FACTS)
    for manifest in (old, new):
        registry.promote(tmp_path, manifest.version)
    changed = old.model_copy(update={"schema_sha256": "another"})
    (tmp_path / old.version / registry.MANIFEST_FILE).write_text(changed.model_dump_json())

    with pytest.raises(RegistryError, match="another schema"):
        registry.rollback(tmp_path)
    assert registry.history(tmp_path) == [new.version, old.version]


@pytest.mark.parametrize("name", ["champion", "{version}/", "../x", "unknown"])
def test_only_a_version_is_promoted(tmp_path: Path, name: str) -> None:
    version = registry.register(tmp_path, b"model", **FACTS).version
    registry.promote(tmp_path, version)

    with pytest.raises(RegistryError, match=f"only {version}"):
        registry.promote(tmp_path, name.format(version=version))
    assert registry.history(tmp_path) == [version]


def test_versions_are_listed_with_the_newest_first(tmp_path: Path) -> None:
    registered = {registry.register(tmp_path, model, **FACTS).version for model in (b"1", b"2")}
    registry.promote(tmp_path, min(registered))

    assert registry.versions(tmp_path) == sorted(registered, reverse=True)
