"""Labels find their predictions: in any order, once, and from several processes at a time."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from chassis.flights import CONTRACT
from ml_chassis.data import DataError
from ml_chassis.feedback.store import AT_ONCE, Store
from ml_chassis.monitoring.quality import Joined, Kept


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """Return an empty one."""
    opened = Store(CONTRACT, database_url)
    yield opened
    opened.close()


def kept(name: str) -> Kept:
    return Kept(name, "v1", 0.25, "0.2 to 0.3", True, {"carrier": "UA"})


def test_a_label_after_its_prediction_is_joined_once(store: Store) -> None:
    assert store.keep([kept("a"), kept("b")]) == []

    assert store.add({"a": True}) == ([Joined(kept("a"), True)], 0, 0, 0)
    assert store.add({"a": True}) == ([], 1, 0, 0)
    assert store.add({"a": False, "b": False}) == ([Joined(kept("b"), False)], 0, 1, 0)
    assert store.add({"a": False}) == ([], 1, 0, 0)


def test_a_label_before_its_prediction_waits_for_it(store: Store) -> None:
    assert store.add({"a": True}) == ([], 0, 0, 1)
    assert store.add({"a": False}) == ([], 0, 0, 1)

    assert store.keep([kept("a"), kept("b")]) == [Joined(kept("a"), False)]
    assert store.keep([kept("a")]) == []
    assert store.add({"a": False}) == ([], 1, 0, 0)


def test_what_neither_process_saw_is_joined_later(store: Store) -> None:
    # As if the transactions of both had run at once.
    store.add({"a": True})
    with store._engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO feedback_predictions"
            " (id, predicted_at, model_version, prediction, bin, slices)"
            " VALUES ('a', '2026-01-01', 'v1', '0.5', 'any', '{}')"
        )

    assert store.join(datetime.max).joined == []
    (joined,) = store.join(datetime.min).joined
    assert (joined.kept.id, joined.kept.prediction, joined.label) == ("a", 0.5, True)
    assert store.join(datetime.min) == ([], 0, 0, 0)


def test_labels_of_another_process_wait_until_they_are_joined(store: Store) -> None:
    store.keep([kept("a"), kept("b"), kept("c")])
    store.add({"a": True, "b": True})

    store.wait({"a": True, "b": False, "c": True, "d": True})

    assert store.join(datetime.min) == ([Joined(kept("c"), True)], 1, 1, 0)
    assert store.join(datetime.min) == ([], 0, 0, 0)
    assert store.add({"b": False}) == ([], 1, 0, 0)


def test_more_labels_than_a_statement_takes(store: Store) -> None:
    names = [f"id-{number}" for number in range(2 * AT_ONCE + 1)]
    store.keep(kept(name) for name in names[1:])

    told = store.add(dict.fromkeys(names, True))

    assert (len(told.joined), told.known, told.waiting) == (2 * AT_ONCE, 0, 1)


@pytest.mark.parametrize("label", [True, 3, 2.5, "late, and so on"])
def test_a_label_comes_back_as_it_was(label: bool | float | str, store: Store) -> None:
    store.keep([Kept("a", "v1", [0.25, 0.75], "= late", None, {})])

    (joined,) = store.add({"a": label}).joined

    assert joined == Joined(Kept("a", "v1", [0.25, 0.75], "= late", None, {}), label)
    assert type(joined.label) is type(label)


def test_several_processes_at_once_join_each_label_once(database_url: str) -> None:
    stores = [Store(CONTRACT, database_url) for _ in range(4)]
    names = [f"id-{number}" for number in range(200)]

    def both(store: Store) -> list[Joined]:
        found = []
        for start in range(0, len(names), 20):
            part = names[start : start + 20]
            found += store.add(dict.fromkeys(part, True)).joined
            found += store.keep(kept(name) for name in part)
        return found

    with ThreadPoolExecutor(len(stores)) as pool:
        joined = [each for part in pool.map(both, stores) for each in part]
    joined += stores[0].join(datetime.min).joined

    assert sorted(each.kept.id for each in joined) == sorted(names)
    for store in stores:
        store.close()


def test_what_is_old_is_deleted(store: Store) -> None:
    store.keep([kept("a")])
    store.add({"b": True})
    now = datetime.now() + timedelta(days=1)

    assert store.forget(now - timedelta(days=30)) == 0
    assert store.forget(now + timedelta(days=1)) == 2
    assert store.add({"a": True}) == ([], 0, 0, 1)


@pytest.mark.parametrize("url", ["mysql://host/x", "sqlite:////proc/none/x.db"])
def test_a_database_that_cannot_be_opened_is_told(url: str) -> None:
    with pytest.raises(DataError, match="x"):
        Store(CONTRACT, url)


def test_a_file_that_may_not_be_written_fails_each_call(tmp_path: Path) -> None:
    opened = Store(CONTRACT, f"sqlite:///{tmp_path}/x.db?timeout=0.1")
    with opened._engine.begin() as other:
        other.exec_driver_sql("DELETE FROM feedback_labels")  # holds the lock
        second = Store.__new__(Store)
        second._engine = opened._engine
        with pytest.raises(Exception, match="locked"):
            second.keep([kept("a")])
    assert opened.keep([kept("a")]) == []
    opened.close()
