"""Labels find their predictions: in any order, once, and from several processes at a time."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from chassis.flights import CONTRACT
from ml_chassis.data import DataError
from ml_chassis.feedback import store as feedback_store
from ml_chassis.feedback.store import AT_ONCE, Pair, Store
from ml_chassis.monitoring.quality import Joined, Kept


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """Return an empty one."""
    opened = Store(CONTRACT, database_url)
    yield opened
    opened.close()


def kept(name: str) -> Kept:
    return Kept(name, "v1", "stable", 0.25, 0.2, "0.2 to 0.3", True, {"carrier": "UA"})


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
            " (id, predicted_at, model_version, track, prediction, constant, bin, slices)"
            " VALUES ('a', '2026-01-01', 'v1', 'stable', '0.5', '0.2', 'any', '{}')"
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


def test_who_does_not_join_leaves_old_labels_to_those_who_do(store: Store) -> None:
    store.wait({"a": True, "b": True})
    with store._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE feedback_labels SET received_at = '2026-01-01'")

    assert store.keep([kept("a")], joins=False) == []

    since = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)
    assert store.join(since).joined == [Joined(kept("a"), True)]


def test_of_more_labels_than_are_joined_at_once_the_oldest_come_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_store, "MOST_JOINED", 1)
    store.keep([kept("a"), kept("b")])
    for name in ("b", "a"):
        store.wait({name: True})

    assert [store.join(datetime.min).joined for _ in range(3)] == [
        [Joined(kept("b"), True)],
        [Joined(kept("a"), True)],
        [],
    ]


def test_more_labels_than_a_statement_takes(store: Store) -> None:
    names = [f"id-{number}" for number in range(2 * AT_ONCE + 1)]
    store.keep(kept(name) for name in names[1:])

    told = store.add(dict.fromkeys(names, True))

    assert (len(told.joined), told.known, told.waiting) == (2 * AT_ONCE, 0, 1)


@pytest.mark.parametrize("label", [True, 3, 2.5, "late, and so on"])
def test_a_label_comes_back_as_it_was(label: bool | float | str, store: Store) -> None:
    store.keep([Kept("a", "v1", "canary", [0.25, 0.75], [0.5, 0.5], "= late", None, {})])

    (joined,) = store.add({"a": label}).joined

    assert joined == Joined(
        Kept("a", "v1", "canary", [0.25, 0.75], [0.5, 0.5], "= late", None, {}), label
    )
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


def test_a_file_that_another_writes_to_is_waited_for_and_not_for_long(tmp_path: Path) -> None:
    first, second = (Store(CONTRACT, f"sqlite:///{tmp_path}/x.db?timeout=0.1") for _ in range(2))
    with first._engine.begin(), pytest.raises(Exception, match="locked"):
        second.keep([kept("a")])

    assert second.keep([kept("a")]) == []
    assert len(first.add({"a": True}).joined) == 1
    first.close()
    second.close()


def test_labels_that_are_told_and_joined_at_once_do_not_wait_for_each_other(
    database_url: str,
) -> None:
    names = [f"id-{number:04}" for number in range(400)]
    stores = [Store(CONTRACT, database_url) for _ in range(2)]
    stores[0].keep(kept(name) for name in names)
    stores[0].wait(dict.fromkeys(names, True))

    def join(_: int) -> int:
        return len(stores[0].join(datetime.min).joined)

    def tell(start: int) -> int:
        part = names[start : start + 20]
        return len(stores[1].add(dict.fromkeys(part, True)).joined)

    with ThreadPoolExecutor(4) as pool:
        joined = [*pool.map(join, range(20)), *pool.map(tell, range(0, len(names), 20))]
    assert sum(joined) == len(names)
    for store in stores:
        store.close()


def test_of_many_labels_some_are_joined_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_chassis.feedback.store.MOST_JOINED", 2)
    store.keep(kept(name) for name in "abc")
    store.wait(dict.fromkeys("abc", True))

    assert [len(store.join(datetime.min).joined) for _ in range(3)] == [2, 1, 0]


def of_shadow(name: str, version: str = "v2") -> Kept:
    return kept(name)._replace(model_version=version, prediction=0.5, acts=False)


def test_predictions_of_both_are_paired_by_their_ids(store: Store) -> None:
    begun = datetime.min
    store.keep([kept("a-0"), kept("a-1"), kept("b-0"), kept("c-0")])
    store.add({"b-0": True})
    store.keep_shadow([of_shadow(name) for name in ("a-0", "a-1", "b-0", "d-0")])
    store.keep_shadow([of_shadow("a-0")])  # as after a failure that hit its answer alone
    store.keep_shadow([of_shadow("c-0", "v3")])

    slices = {"carrier": "UA"}
    assert store.pairs("v1", "v2", begun, 9) == [
        Pair("a-0", 0.25, 0.5, (True, False), slices, None),
        Pair("b-0", 0.25, 0.5, (True, False), slices, True),
    ]
    assert store.count_pairs("v1", "v2", begun) == 2
    assert len(store.pairs("v1", "v2", begun, 1)) == 1
    assert store.pairs("v0", "v2", begun, 9) == []
    assert store.pairs("v1", "v2", datetime.max, 9) == []


def test_predictions_of_a_shadow_are_forgotten_and_get_no_labels(store: Store) -> None:
    store.keep_shadow([of_shadow("a-0")])
    assert store.add({"a-0": True}) == ([], 0, 0, 1)
    store.keep([kept("a-0")])
    assert store.forget(datetime.max) == 2
    assert store.count_pairs("v1", "v2", datetime.min) == 0


def test_a_report_says_what_fails(database_url: str) -> None:
    store = Store(CONTRACT, database_url, is_read=True)
    with store._engine.begin() as connection:
        for table in ("exposures", "experiments", "shadow"):
            connection.exec_driver_sql(f"DROP TABLE feedback_{table}")
    asked: tuple[Callable[[], object], ...] = (
        lambda: store.units("a", datetime.max),
        lambda: store.answered_by("a"),
        lambda: store.declared(),
        lambda: store.pairs("v1", "v2", datetime.min, 9),
        lambda: store.count_pairs("v1", "v2", datetime.min),
    )
    for ask in asked:
        with pytest.raises(DataError, match="cannot be read"):
            ask()
    store.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_label_of_a_machine_whose_clock_is_slow_is_joined(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.keep([kept("a")])
    since = store.now()
    with monkeypatch.context() as slow:
        slow.setattr(feedback_store, "utc_now", lambda: datetime(2020, 1, 1))
        store.wait({"a": True})

    assert store.join(since).joined == [Joined(kept("a"), True)]


@pytest.mark.parametrize("odd", ["late", '"late"', "3", "null", ""])
def test_what_somebody_else_wrote_that_is_no_label_stops_no_other(
    odd: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.keep([kept("a"), kept("b")])
    store.wait({"a": True, "b": True, "c": True})
    with store._engine.begin() as connection:
        for name in "ac":
            wrong = sa.update(feedback_store.LABELS).values(label=odd)
            connection.execute(wrong.where(feedback_store.LABELS.c.id == name))

    assert store.join(datetime.min) == ([Joined(kept("b"), True)], 0, 0, 0)
    assert store.keep([kept("c")]) == []
    assert caplog.text.count("is_refused is set") == 2
    assert store.join(datetime.min) == ([], 0, 0, 0)
    assert store.add({"a": False}).joined == [Joined(kept("a"), False)]
    store.wait({"c": True})
    assert store.join(datetime.min).joined == [Joined(kept("c"), True)]


def test_of_labels_without_a_prediction_the_newest_wait(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_store, "MOST_WAITING", 3)
    store.keep([kept("known")], joins=False)
    store.wait({"known": True})
    for name in ("a", "b", "c"):
        assert store.trim() == 0
        store.wait({name: True})
    assert store.trim() == 0  # that of a prediction is not for this to delete
    store.wait({"d": True})

    assert store.trim() == 1
    assert store.trim() == 0
    joined = store.keep(kept(name) for name in "abcd") + store.join(datetime.min).joined
    assert sorted(each.kept.id for each in joined) == ["b", "c", "d", "known"]


def test_labels_for_a_file_that_somebody_removed_are_refused(tmp_path: Path) -> None:
    opened = Store(CONTRACT, f"sqlite:///{tmp_path}/x.db")
    (tmp_path / "x.db").unlink()

    with pytest.raises(DataError, match="is gone: start again"):
        opened.wait({"a": True})
    opened.close()
