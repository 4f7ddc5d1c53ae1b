"""A worker keeps what it predicted, and what the database cannot take is counted."""

import asyncio
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY

from chassis.flights import CONTRACT
from chassis.test_decision import WARN
from ml_chassis.contract import Table
from ml_chassis.feedback import log, store, writer
from ml_chassis.feedback.log import BusyError, Log
from ml_chassis.feedback.sample import Sample
from ml_chassis.monitoring.drift import Reference
from ml_chassis.monitoring.quality import Expected, Kept, Watch

ROW = CONTRACT.to_row(CONTRACT.example_row())
REFERENCE = Reference.fit(
    CONTRACT, *CONTRACT.to_arrays([ROW] * 10), np.linspace(0, 1, 10, dtype=np.float32)
)
EXPECTED = Expected(loss=0.5, constant=0.2, slices=("carrier",), decision=WARN)


def value(name: str, **labels: str) -> float:
    if "version" in labels and name not in {"decision_value", "evaluation_loss"}:
        labels = {"track": "stable", **labels}
    return REGISTRY.get_sample_value(f"model_service_{name}", labels) or 0


@pytest.fixture
def version(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.fixture
def made(tmp_path: Path, version: str) -> Iterator[Log]:
    """Return one that knows a model."""
    found = Log(CONTRACT, f"sqlite:///{tmp_path}/x.db?timeout=0.1", 90, "stable")
    found.use(version, Watch(CONTRACT, version, REFERENCE, EXPECTED))
    yield found
    found.close()


def test_labels_are_counted_by_slice_bin_and_outcome(made: Log, version: str) -> None:
    Sample(made.give).note("a", version, [ROW, ROW], [0.95, 0.1])
    Sample(made.give).note("b", version, [ROW], [0.95])
    made.flush()
    made.add({"a-0": True, "a-1": True, "b-0": False})

    assert value("labelled_rows_total", version=version, slice="(all)") == 3
    assert value("labelled_rows_total", version=version, slice="carrier UA") == 3
    losses = -np.log([0.95, 0.1, 0.05])
    assert value("loss_total", version=version, slice="(all)") == pytest.approx(losses.sum())
    squares = value("squared_loss_total", version=version, slice="carrier UA")
    assert squares == pytest.approx((losses**2).sum())
    constant = -np.log([0.2, 0.2, 0.8])
    base_rate = value("base_rate_loss_total", version=version, slice="(all)")
    assert base_rate == pytest.approx(constant.sum())
    difference = value("squared_loss_difference_total", version=version, slice="(all)")
    assert difference == pytest.approx(((losses - constant) ** 2).sum())
    outcomes = {"true_positive": 1, "false_negative": 1, "false_positive": 1, "true_negative": 0}
    for outcome, count in outcomes.items():
        assert value("decisions_total", version=version, outcome=outcome) == count
        worth = value("decision_value", version=version, outcome=outcome)
        assert worth == WARN.outcomes[outcome]
    (high,) = (name for name in REFERENCE.prediction.names if name.startswith("above"))
    assert value("label_bin_total", version=version, bin=high, label="true") == 1
    assert value("label_bin_total", version=version, bin=high, label="false") == 1
    assert value("confidence_bin_total", version=version, bin=high) == pytest.approx(1.9)


def test_rows_of_a_table_are_kept_too(made: Log, version: str) -> None:
    Sample(made.give).note("t", version, Table(*CONTRACT.to_arrays([ROW] * 3)), [0.2, 0.3, 0.4])
    made.flush()

    assert len(made.add({"t-0": True, "t-2": True, "t-3": True}).joined) == 2


def test_the_answer_of_an_event_has_the_id_of_the_event(made: Log, version: str) -> None:
    Sample(made.give).note("order-1", version, [ROW], [0.95], is_event=True)
    Sample(made.give).note("order-2", version, [ROW], [0.1])
    made.flush()

    joined = made.add({"order-1": True, "order-1-0": True, "order-2-0": True}).joined
    assert [(each.kept.id, each.kept.prediction) for each in joined] == [
        ("order-1", 0.95),
        ("order-2-0", 0.1),
    ]


def test_who_shows_no_metrics_leaves_the_labels_to_others(
    made: Log, version: str, tmp_path: Path
) -> None:
    silent = Log(CONTRACT, f"sqlite:///{tmp_path}/x.db", 90, "stable", joins=False)
    silent.use(version, Watch(CONTRACT, version, REFERENCE, EXPECTED))
    made._open().wait({"order-1": True})
    Sample(silent.give).note("order-1", version, [ROW], [0.95], is_event=True)
    before = value("feedback_labels_total", outcome="joined")
    silent.flush()
    assert value("feedback_labels_total", outcome="joined") == before
    silent.close()

    made.flush()
    assert value("feedback_labels_total", outcome="joined") == before + 1


def test_labels_that_are_too_many_for_one_look_are_all_joined(
    made: Log, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_JOINED", 2)
    monkeypatch.setattr(log, "MOST_JOINED", 2)
    monkeypatch.setattr(log, "LATE", timedelta())  # as if they had waited for long
    Sample(made.give).note("a", version, [ROW] * 5, [0.5] * 5)
    made.flush()
    made._joined = -float("inf")
    made._open().wait({f"a-{number}": True for number in range(5)})
    before = value("feedback_labels_total", outcome="joined")
    for _ in range(3):
        made.flush()

    assert value("feedback_labels_total", outcome="joined") == before + 5


def test_what_a_thread_that_hangs_does_not_take_is_counted(
    made: Log, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_NOTED", 2)
    before = value("feedback_predictions_total", outcome="lost")
    for number in range(3):
        Sample(made.give).note(f"{number}", version, [ROW] * 2, [0.5] * 2)
    made.flush()

    assert value("feedback_predictions_total", outcome="lost") - before == 2
    names = [f"{number}-{row}" for number in range(3) for row in range(2)]
    assert len(made.add(dict.fromkeys(names, True)).joined) == 4


def test_a_database_that_fails_costs_labels_and_no_prediction(
    made: Log, version: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log, "MAX_PENDING", 3)
    before = value("feedback_predictions_total", outcome="lost")
    made.flush()
    store: Any = made._store
    with store._engine.begin() as other:
        other.exec_driver_sql("DELETE FROM feedback_labels")  # holds the lock
        for number in range(5):
            Sample(made.give).note(f"{number}", version, [ROW], [0.5])
            made.flush()
        with pytest.raises(Exception, match="locked"):
            made.add({"0-0": True})
    made.flush()

    assert value("feedback_predictions_total", outcome="lost") - before == 2
    assert caplog.text.count("predictions are not kept") == 1
    assert len(made.add({f"{number}-0": True for number in range(5)}).joined) == 3


def test_a_database_that_comes_later_is_used_then(tmp_path: Path, version: str) -> None:
    (tmp_path / "folder").write_text("not a folder")
    late = Log(CONTRACT, f"sqlite:///{tmp_path}/folder/x.db", 90, "stable")
    late.use(version, Watch(CONTRACT, version, REFERENCE, EXPECTED))
    Sample(late.give).note("a", version, [ROW], [0.5])
    late.flush()
    (tmp_path / "folder").unlink()
    late.flush()

    assert len(late.add({"a-0": True}).joined) == 1
    late.close()


def test_a_version_that_is_long_gone_is_not_kept(made: Log) -> None:
    Sample(made.give).note("a", "gone", [ROW], [0.5])
    made.flush()

    assert made.add({"a-0": True}).waiting == 1


def test_labels_of_what_is_served_elsewhere_are_counted_once_their_series_are_seen(
    made: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = Log(CONTRACT, f"sqlite:///{tmp_path}/x.db", 90, "canary")
    canary.use("other", Watch(CONTRACT, "other", REFERENCE, EXPECTED))
    Sample(canary.give).note("a", "other", [ROW], [0.5])
    canary.flush()

    def labelled() -> float | None:
        labels = {"track": "canary", "version": "other", "slice": "(all)"}
        return REGISTRY.get_sample_value("model_service_labelled_rows_total", labels)

    before = labelled() or 0
    assert len(made.add({"a-0": True}).joined) == 1
    made.flush()
    assert labelled() == before
    monkeypatch.setattr(log, "SCRAPE_SECONDS", 0)
    made.flush()
    assert labelled() == before + 1
    canary.close()


def test_what_a_shadow_predicts_is_kept_apart(tmp_path: Path, version: str) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    stable, shadow = (Log(CONTRACT, url, 90, track) for track in ("stable", "shadow"))
    for each, of in ((stable, "v1"), (shadow, version)):
        each.use(of, Watch(CONTRACT, of, REFERENCE, EXPECTED))
        Sample(each.give).note("a", of, [ROW], [0.95])
        each.flush()

    assert len(stable.add({"a-0": True}).joined) == 1
    found = store.Store(CONTRACT, url)
    ((_, one, other, _, slices, label),) = found.pairs("v1", version, datetime.min, 9)
    assert (one, other, slices, label) == (0.95, 0.95, {"carrier": "UA"}, True)
    found.close()
    for log_of_track in (stable, shadow):
        log_of_track.close()


def test_what_stays_is_kept_whatever_others_come(made: Log) -> None:
    watch = Watch(CONTRACT, "v", REFERENCE, EXPECTED)
    made.use("challenger", watch, stays=True)
    for number in (1, 2, 1, 2, 3, 4):
        made.use(f"champion {number}", watch)
    assert made._watches.keys() == {"challenger", "champion 2", "champion 3", "champion 4"}


@pytest.mark.parametrize("restored", [False, True])
def test_a_file_that_somebody_removed_is_made_again(
    restored: bool, made: Log, version: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Sample(made.give).note("a", version, [ROW], [0.5])
    made.flush()
    (tmp_path / "x.db").rename(tmp_path / "old.db")
    if restored:
        shutil.copy(tmp_path / "old.db", tmp_path / "x.db")
    Sample(made.give).note("b", version, [ROW], [0.5])
    made.flush()

    assert len(made.add({"b-0": True}).joined) == 1
    assert caplog.text.count("the file of the database for labels is gone") == 1
    found = store.Store(CONTRACT, f"sqlite:///{tmp_path}/x.db")
    assert found.add({"b-0": True}).known == 1
    found.close()


def test_why_predictions_are_not_kept_is_told(
    made: Log, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    made.flush()
    Sample(made.give).note("a", version, [ROW] * 100, [0.5] * 100)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))  # as on a full disk
    try:
        made.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert "predictions are not kept for their labels: disk I/O error" in caplog.text
    made.flush()
    assert len(made.add({f"a-{row}": True for row in range(100)}).joined) == 100


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_is_frozen_does_not_hold_up_a_request(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "TAKE_SECONDS", 0.5)
    told = Log(CONTRACT, database_url, 90, "stable")
    told.add({"a": True})
    before = value("feedback_labels_total", outcome="failed")

    async def tell() -> None:
        with frozen(database_url):
            for _ in range(log.MAX_WAITING):
                with pytest.raises(TimeoutError, match="does not answer"):
                    await told.take({"a": True})
            with pytest.raises(BusyError):
                await told.take({"a": True})
        while told._waiting:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(log, "TAKE_SECONDS", 60)
        assert (await told.take({"a": True})).waiting == 1

    asyncio.run(tell())
    assert value("feedback_labels_total", outcome="failed") - before == log.MAX_WAITING
    told.close()


@contextmanager
def frozen(database_url: str) -> Iterator[None]:
    """Stop a server and all of its processes for a while."""
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        pid = connection.scalars(sa.text("SELECT pg_backend_pid()")).one()
    server = psutil.Process(pid).parent()
    assert server
    processes = [server, *server.children()]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_a_label_that_does_not_fit_its_prediction_stops_no_other(
    made: Log, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = store.Store(CONTRACT, made._url)
    other.keep(
        [Kept("of another service", version, "stable", [0.1, 0.9], [0.5, 0.5], "", None, {})]
    )
    other.close()
    Sample(made.give).note("a", version, [ROW], [0.5])
    made.flush()
    before = value("labelled_rows_total", version=version, slice="(all)")
    made.add({"of another service": True, "a-0": True})

    assert value("labelled_rows_total", version=version, slice="(all)") == before + 1
    assert "labels are not counted" in caplog.text
