"""BentoML's monitor logs what was predicted, in files of its own, or it is said what it did not."""

import errno
import io
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import httpx
import pytest
from pydantic import Field

from chassis.conftest import BENTOML
from chassis.flights import CONTRACT
from chassis.services import apples
from ml_chassis.contract import Contract, Table
from ml_chassis.feedback.sample import Sample
from ml_chassis.personal import PERSONAL
from ml_chassis.programs import end
from ml_chassis.serving import monitor as module
from ml_chassis.serving.monitor import Monitor
from ml_chassis.testing import SERVE, Trained, start_service
from waiting import wait_for

pytestmark = pytest.mark.slow
ROW = CONTRACT.example_row()
LOG_PATH = "services.model_service.monitoring.options.log_path"
Records = dict[str, dict[str, Any]]


class Watched(NamedTuple):
    """A service with a monitor.

    Attributes:
        client: Asks it.
        place: Where its monitor writes.
        log: What it says.
    """

    client: httpx.Client
    place: Path
    log: Path

    def predict(self, *rows: dict[str, Any]) -> Any:
        """Return the answer for rows."""
        return self.client.post("/predict", json={"rows": rows}).raise_for_status().json()


def records(folder: Path) -> Records:
    """Return what all workers have logged, by the ids of the predictions."""
    lines = [line for path in folder.glob("*") for line in path.read_text().splitlines()]
    return {each["prediction_id"]: each for each in map(json.loads, lines)}


@contextmanager
def watched(
    trained: Trained, folder: Path, command: tuple[str, ...] = SERVE, name: str = "flights"
) -> Iterator[Watched]:
    """Run the service with two workers and a monitor."""
    given = {
        "MODEL_SERVICE_WORKERS": "2",
        "MODEL_SERVICE_MONITOR": name,
        "MODEL_SERVICE_DRAIN_SECONDS": "0",  # what is left is written at the end, or never
        "BENTOML_CONFIG_OPTIONS": f"{LOG_PATH}={folder}/monitor",
    }
    log = folder / "log"
    service = start_service(trained.models, folder / "bentoml", command, log, **given)
    try:
        with httpx.Client(base_url=service.url, timeout=30, trust_env=False) as client:
            yield Watched(client, folder / "monitor" / "flights", log)
    finally:
        end(service.process)


@pytest.mark.parametrize("command", [SERVE, BENTOML], ids=["production", "bentoml"])
def test_each_worker_logs_the_features_and_what_was_answered(
    trained: Trained, tmp_path: Path, command: tuple[str, ...]
) -> None:
    answered: Records = {}
    with watched(trained, tmp_path, command) as service:

        def both_have_answered() -> bool:
            # A new connection may go to the other worker.
            body = {"rows": [{**ROW, "seats": None}, {**ROW, "seats": 150}]}
            answer = httpx.post(f"{service.client.base_url}/predict", json=body).json()
            for name, prediction in zip(
                answer["prediction_id"], answer["predictions"], strict=True
            ):
                answered[name] = {"prediction": prediction, "version": answer["model_version"]}
            return len(list(service.place.glob("data/*"))) == 2

        wait_for(both_have_answered, "each worker has a file")
        both_have_answered()

    found = records(service.place / "data")
    # Of the first answer of each worker all rows are, of many in a second a share.
    assert found.keys() <= answered.keys()
    assert len(found) >= 4
    for name, record in found.items():
        assert record["prediction"] == pytest.approx(answered[name]["prediction"])
        assert record["model_version"] == answered[name]["version"]
        assert record["seats"] == (None if name.endswith("-0") else 150)
        assert {*CONTRACT.by_name} <= record.keys()
        assert record["carrier"] == ROW["carrier"]
    assert {path.name for path in service.place.glob("data/*")} == {"data.1.log", "data.2.log"}


def test_the_schema_tells_the_role_and_type_of_each_column(
    trained: Trained, tmp_path: Path
) -> None:
    with watched(trained, tmp_path) as service:
        service.predict(ROW)
        wait_for(lambda: any(service.place.glob("schema/*")), "the schema is written")
    (line,) = (each for path in service.place.glob("schema/*") for each in lines(path))
    columns = {each["name"]: (each["role"], each["type"]) for each in json.loads(line)["columns"]}
    assert columns["seats"] == ("feature", "numerical")
    assert columns["carrier"] == ("feature", "categorical")
    assert columns["prediction"] == ("prediction", "numerical")
    assert columns["prediction_id"] == ("prediction", "categorical")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_without_a_name_nothing_is_logged(trained: Trained, tmp_path: Path) -> None:
    with watched(trained, tmp_path, name="") as service:
        service.predict(ROW)
    assert not (tmp_path / "monitor").exists()


def test_a_folder_that_cannot_be_written_costs_records_and_no_prediction(
    trained: Trained, tmp_path: Path
) -> None:
    (tmp_path / "monitor").write_text("not a folder")
    with watched(trained, tmp_path) as service:
        service.predict(ROW, ROW)
        wait_for(lambda: "did not log 2 predictions" in service.log.read_text(), "it is said")
        assert str(tmp_path / "monitor") in service.log.read_text()
        service.predict(ROW)
    said = service.log.read_text()
    assert "did not log 1 predictions" in said
    assert said.count("did not log") == said.count("Error: [Errno 20]") == 2
    assert "Traceback" not in said


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, in which BentoML then writes; return where a monitor does."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "monitoring"


class FullDisk(io.StringIO):
    """A file on which nothing more can be written."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_costs_records_which_are_counted(
    here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monitor, row = Monitor(CONTRACT, "full"), CONTRACT.to_row(ROW)
    Sample(monitor.give).note("a", "v", [row], [0.5])
    monitor.flush()
    with monkeypatch.context() as patch:
        for handler in logging.getLogger("bentoml_monitor_data").handlers:
            patch.setattr(handler, "stream", FullDisk())
        Sample(monitor.give).note("b", "v", [row] * 3, [0.5] * 3)
        monitor.flush()
    Sample(monitor.give).note("c", "v", [row], [0.5])
    monitor.flush()

    assert "did not log 3 predictions: OSError" in caplog.text
    assert records(here / "full" / "data").keys() == {"a-0", "c-0"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="it is of Linux")
def test_a_disk_that_is_full_from_the_first_record_on_is_no_other(
    here: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("data", "schema"):
        (here / "never" / name).mkdir(parents=True)
        (here / "never" / name / f"{name}.0.log").symlink_to("/dev/full")
    monitor, row = Monitor(CONTRACT, "never"), CONTRACT.to_row(ROW)
    Sample(monitor.give).note("a", "v", [row] * 2, [0.5] * 2)
    monitor.flush()

    assert "did not log 2 predictions: OSError: [Errno 28] No space left on device" in caplog.text
    assert capfd.readouterr().err == ""


def test_a_folder_that_comes_later_gets_the_schema_too(here: Path) -> None:
    monitor, row = Monitor(CONTRACT, "late"), CONTRACT.to_row(ROW)
    here.write_text("not a folder")
    Sample(monitor.give).note("a", "v", [row], [0.5])
    monitor.flush()
    here.unlink()
    Sample(monitor.give).note("b", "v", [row], [0.5])
    monitor.flush()

    assert records(here / "late" / "data").keys() == {"b-0"}
    (schema,) = (here / "late" / "schema").glob("*")
    assert '"columns"' in schema.read_text()


class Dated(apples.Features):
    """With a feature that is personal, and two whose names stand for something else."""

    owner: Annotated[str, Field(max_length=9, examples=["Jo"]), PERSONAL]
    model_version: Annotated[int, Field(ge=0, le=9, examples=[4])]
    timestamp: Annotated[int, Field(ge=0, le=9, examples=[5])]


class LabelledDated(Dated):
    """The same, and the label."""

    grade: Literal["extra", "first", "second"]


def test_classes_are_a_sequence_and_nothing_personal_is_logged(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contract = Contract(Dated, LabelledDated)
    monitor = Monitor(contract, "dated")
    table = Table(*contract.example_arrays())
    Sample(monitor.give).note("a", "v", table, [[0.2, 0.3, 0.5]])
    monitor.flush()

    record = records(here / "dated" / "data")["a-0"]
    assert record["prediction"] == [0.2, 0.3, 0.5]
    assert (record["model_version"], record["model_version_"]) == ("v", 4)
    assert record["timestamp_"] == 5
    assert caplog.text == ""  # or BentoML would say of each row that it takes another name
    assert "owner" not in record


def test_of_many_rows_a_share_is_logged(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    monitor, table = Monitor(CONTRACT, "many"), Table(*CONTRACT.example_arrays())
    for number in range(30):
        Sample(monitor.give).note(f"{number}", "v", table, [0.5])
    monitor.flush()

    assert len(records(here / "many" / "data")) == 3
