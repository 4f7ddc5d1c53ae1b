"""Versions are whole, aliases change in one step, and nothing tampered is served.

All of it in a folder, and in object storage that a server gives over HTTP as S3 does.
"""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pytest

from chassis.command import chassis
from chassis.flights import CONTRACT
from chassis.object_storage import Storage
from ml_chassis import registry, storage
from ml_chassis.registry import (
    CHALLENGER,
    MANIFEST_FILE,
    MODEL_FILE,
    DamagedError,
    RegistryError,
)
from ml_chassis.storage import ChangedError, Root, StorageError

FACTS: dict[str, Any] = {
    "schema_sha256": CONTRACT.fingerprint,
    "data_sha256": "d",
    "config_sha256": "c",
    "code_version": "unknown",
    "test_from": date(2026, 1, 1),
    "data_until": datetime(2026, 1, 31, tzinfo=UTC),
    "estimator": "none",
    "parameters": {},
    "rows": {},
    "metrics": {},
    "packages": {},
    "fallback": None,
    "reference": {"numeric": {}, "categorical": {}, "prediction": {"edges": [], "share": []}},
}


@pytest.fixture(params=["folder", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    """Return an empty registry of each kind."""
    if request.param == "folder":
        yield tmp_path / "models"
    else:
        server: Storage = request.getfixturevalue("object_storage")
        yield server.new_bucket()


def two(root: Root) -> tuple[registry.Manifest, registry.Manifest]:
    """Register two versions, and promote one after the other."""
    manifests = [registry.register(root, model, **FACTS) for model in (b"first", b"second")]
    for manifest in manifests:
        registry.promote(CONTRACT, root, manifest.version, "it is better", "Jo")
    return manifests[0], manifests[1]


def test_what_was_promoted_is_loaded(root: Root) -> None:
    first = registry.register(root, b"first", **FACTS)
    second = registry.register(root, b"second", **FACTS)

    registry.promote(CONTRACT, root, first.version, "the first")
    assert registry.load(root) == (b"first", first)
    registry.promote(CONTRACT, root, second.version, "a better one")
    assert registry.load(root) == (b"second", second)


def test_a_promotion_can_be_rolled_back(root: Root) -> None:
    first, second = two(root)

    assert registry.history(root) == [second.version, first.version]
    assert registry.rollback(CONTRACT, root, "worse at JFK") == first.version
    assert registry.load(root) == (b"first", first)
    with pytest.raises(RegistryError, match="No version was 'champion' before"):
        registry.rollback(CONTRACT, root, "worse, too")


def test_rollbacks_go_back_as_the_promotions_came(root: Root) -> None:
    first, second = two(root)
    registry.promote(CONTRACT, root, first.version, "better after all")

    undone = [registry.rollback(CONTRACT, root, "worse") for _ in range(2)]

    assert undone == [second.version, first.version]
    registry.promote(CONTRACT, root, first.version, "again")
    with pytest.raises(RegistryError, match="No version was 'champion' before"):
        registry.rollback(CONTRACT, root, "of one that was promoted twice")


def test_who_changed_an_alias_when_and_why_is_kept(root: Root) -> None:
    first, second = two(root)
    registry.rollback(CONTRACT, root, "worse at JFK", "Kim")

    kept = registry.changes(root)

    assert [(each.version, each.who, each.why) for each in kept] == [
        (first.version, "Kim", "worse at JFK"),
        (second.version, "Jo", "it is better"),
        (first.version, "Jo", "it is better"),
    ]
    assert all((datetime.now(UTC) - each.when).total_seconds() < 60 for each in kept)


def test_the_challenger_is_named_beside_the_champion(root: Root) -> None:
    first, second = two(root)
    registry.promote(CONTRACT, root, first.version, "for a test of both", alias=CHALLENGER)

    assert registry.history(root, CHALLENGER) == [first.version]
    assert registry.history(root) == [second.version, first.version]


def test_a_promotion_that_is_repeated_forgets_nothing(root: Root) -> None:
    first, second = two(root)
    registry.promote(CONTRACT, root, second.version, "again")

    assert registry.history(root) == [second.version, first.version]


def test_registering_does_not_change_what_is_served(root: Root) -> None:
    champion = registry.register(root, b"champion", **FACTS)
    registry.promote(CONTRACT, root, champion.version, "the first")

    registry.register(root, b"newer", **FACTS)

    assert registry.load(root)[1] == champion


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="estimator"):
        registry.register(tmp_path, b"model", **{**FACTS, "estimator": None})

    assert list(tmp_path.iterdir()) == []


def test_a_version_without_its_last_file_is_none(root: Root) -> None:
    version = registry.register(root, b"model", **FACTS).version
    storage.write_folder(root, version.replace("Z-", "Z-0")[:-1], {MODEL_FILE: b"half"})

    assert registry.versions(root) == [version]


def test_a_changed_model_is_refused(root: Root) -> None:
    manifest = registry.register(root, b"model", **FACTS)
    storage.write(root, f"{manifest.version}/{MODEL_FILE}", b"another")

    with pytest.raises(RegistryError, match="changed after it was registered"):
        registry.promote(CONTRACT, root, manifest.version, "tampered")
    assert registry.changes(root) == []


@pytest.mark.parametrize("file", [MANIFEST_FILE, "champion"])
def test_a_damaged_file_is_refused(root: Root, file: str) -> None:
    version = registry.register(root, b"model", **FACTS).version
    registry.promote(CONTRACT, root, version, "the first")
    storage.write(root, file if file == "champion" else f"{version}/{file}", b"{}")

    with pytest.raises(RegistryError, match="damaged"):
        registry.load(root)


def test_an_alias_that_is_empty_is_damaged_and_stays_as_it_is(root: Root) -> None:
    version = registry.register(root, b"model", **FACTS).version
    storage.write(root, "champion", b"")

    with pytest.raises(DamagedError, match="empty"):
        registry.promote(CONTRACT, root, version, "better")
    with pytest.raises(DamagedError):
        registry.load(root)
    assert storage.read(root, "champion") == b""


def test_an_alias_names_nothing_outside_of_the_registry(root: Root) -> None:
    two(root)
    now = registry.changes(root)[0].model_copy(update={"version": "../elsewhere"})
    storage.write(root, "champion", now.model_dump_json().encode())

    with pytest.raises(RegistryError, match="damaged: version"):
        registry.load(root)


def test_a_missing_model_says_what_to_do(root: Root) -> None:
    with pytest.raises(RegistryError, match="make train"):
        registry.load(root)


def test_a_model_of_another_schema_is_refused(root: Root) -> None:
    manifest = registry.register(root, b"model", **{**FACTS, "schema_sha256": "another"})

    with pytest.raises(RegistryError, match="another schema"):
        registry.require_schema(CONTRACT, manifest)
    with pytest.raises(RegistryError, match="another schema"):
        registry.promote(CONTRACT, root, manifest.version, "tried")


def test_a_rollback_to_another_schema_changes_nothing(root: Root) -> None:
    old, new = two(root)
    changed = old.model_copy(update={"schema_sha256": "another"})
    storage.write(root, f"{old.version}/{MANIFEST_FILE}", changed.model_dump_json().encode())

    with pytest.raises(RegistryError, match="another schema"):
        registry.rollback(CONTRACT, root, "worse")
    assert registry.history(root) == [new.version, old.version]


@pytest.mark.parametrize("name", ["champion", "{version}/", "../x", "unknown"])
def test_only_a_version_is_promoted(root: Root, name: str) -> None:
    version = registry.register(root, b"model", **FACTS).version
    registry.promote(CONTRACT, root, version, "the first")

    with pytest.raises(RegistryError, match=f"only {version}"):
        registry.promote(CONTRACT, root, name.format(version=version), "tried")
    assert registry.history(root) == [version]


def test_trainings_that_end_at_once_are_all_registered(root: Root) -> None:
    with ThreadPool(8) as pool:
        made = pool.map(lambda _: registry.register(root, b"model", **FACTS), range(16))

    assert registry.versions(root) == sorted((each.version for each in made), reverse=True)
    assert len({each.version for each in made}) == 16
    for each in made:
        assert each.version.startswith(f"{each.created_at:{registry.TIME_FORMAT}}-")


def test_versions_are_listed_with_the_newest_first(root: Root) -> None:
    registered = {registry.register(root, model, **FACTS).version for model in (b"1", b"2")}
    registry.promote(CONTRACT, root, min(registered), "the older one")

    assert registry.versions(root) == sorted(registered, reverse=True)


def test_the_champion_alone_is_copied_for_the_image(root: Root, tmp_path: Path) -> None:
    _, second = two(root)

    registry.export(CONTRACT, root, tmp_path / "served")

    assert registry.load(tmp_path / "served") == (b"second", second)
    assert registry.history(tmp_path / "served") == [second.version]
    assert registry.versions(tmp_path / "served") == [second.version]


def test_a_changed_champion_is_not_copied_for_the_image(root: Root, tmp_path: Path) -> None:
    _, second = two(root)
    storage.write(root, f"{second.version}/{MODEL_FILE}", b"another")

    with pytest.raises(RegistryError, match="changed after it was registered"):
        registry.export(CONTRACT, root, tmp_path / "served")
    assert not (tmp_path / "served").exists()


def by_hand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], root: Root, *given: str
) -> tuple[int, str]:
    """Run the command line."""
    monkeypatch.setenv("MODEL_SERVICE_MODELS_DIR", str(root))
    code = chassis(*given)
    said = capsys.readouterr()
    return code, said.out + said.err


def test_a_person_says_why_and_is_noted(
    root: Root, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = two(root)
    monkeypatch.setenv("WHO", "Kim")

    refused = by_hand(monkeypatch, capsys, root, "rollback")
    done = by_hand(monkeypatch, capsys, root, "rollback", "--why", "worse at JFK")
    listed = by_hand(monkeypatch, capsys, root, "models")

    assert refused == (
        1,
        'Nothing was changed. Say why, for those who ask later: make rollback ... WHY="..."\n',
    )
    assert f"{first.version} is the champion now" in done[1]
    assert re.search(rf"^champion +{first.version}  .* UTC  Kim: worse at JFK$", listed[1], re.M)
    assert re.search(r"^challenger  none$", listed[1], re.M)
    assert f"{second.version}  AUC" in listed[1]


def test_who_does_something_is_found_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in registry.AUTHORS:
        monkeypatch.delenv(name, raising=False)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "config", "user.name", "Jo Doe"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)

    assert registry.author() == "Jo Doe"
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    assert registry.author() == "octocat"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/models", "s3://, gs:// or az://"),
        ("az://container/models", "Account must be specified"),
        ("s3://", "cannot be reached: .*s3://"),
    ],
)
def test_a_url_that_cannot_be_used_says_why(url: str, said: str) -> None:
    with pytest.raises(StorageError, match=said):
        registry.versions(url)


def test_a_bucket_that_is_not_there_is_named(object_storage: Storage) -> None:
    missing = object_storage.new_bucket().replace("s3://", "s3://no-")

    with pytest.raises(StorageError, match=r"s3://no-bucket-.*404 Not Found$"):
        registry.register(missing, b"model", **FACTS)


def test_of_promotions_at_once_one_is_refused(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (registry.register(root, model, **FACTS) for model in (b"1", b"2"))
    replace = storage.replace

    def be_late(*given: Any) -> None:
        monkeypatch.undo()
        registry.promote(CONTRACT, root, first.version, "another is quicker", "Kim")
        replace(*given)

    for seen in ([first.version], [first.version, first.version]):
        monkeypatch.setattr(storage, "replace", be_late)
        with pytest.raises(ChangedError, match="Somebody else has changed .*champion"):
            registry.promote(CONTRACT, root, second.version, "better", "Jo")
        assert [each.version for each in registry.changes(root)] == seen
    registry.promote(CONTRACT, root, second.version, "better", "Jo")
    assert registry.history(root) == [second.version, first.version]


def test_an_answer_that_is_lost_is_no_conflict(
    object_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = object_storage.new_bucket()
    opened = storage._open

    @contextmanager
    def losing(*given: Any, **options: Any) -> Iterator[Any]:
        with opened(*given, **options) as store:
            yield _Losing(store)

    monkeypatch.setattr(storage, "_open", losing)
    first, second = (registry.register(root, model, **FACTS) for model in (b"1", b"2"))
    for each in (first, second):
        registry.promote(CONTRACT, root, each.version, "better", "Jo")

    assert registry.versions(root) == [second.version, first.version]
    assert registry.history(root) == [second.version, first.version]


class _Losing:
    """A store that writes, and repeats what it wrote, as when the answer did not come."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, *given: Any, **options: Any) -> None:
        self._store.put(*given, **options)
        if "mode" in options:
            self._store.put(*given, **options)


def test_people_who_share_a_folder_all_promote(tmp_path: Path) -> None:
    first, second = (registry.register(tmp_path, model, **FACTS) for model in (b"1", b"2"))
    registry.promote(CONTRACT, tmp_path, first.version, "better", "Jo")

    assert {path.name for path in tmp_path.iterdir()} == {first.version, second.version, "champion"}


def test_a_reason_that_is_no_text_is_refused(tmp_path: Path) -> None:
    version = registry.register(tmp_path, b"model", **FACTS).version

    for why in ("", "a\udcff"):
        with pytest.raises(RegistryError, match="why: "):
            registry.promote(CONTRACT, tmp_path, version, why, "Jo")
    assert registry.changes(tmp_path) == []


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "champion").mkdir()

    with pytest.raises(OSError, match="champion"):
        storage.write(tmp_path, "champion", b"x")

    assert [path.name for path in tmp_path.iterdir()] == ["champion"]
