"""A challenger behind a real gateway predicts what clients ask, and answers nobody."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import sqlalchemy as sa

from chassis import copies
from chassis.delivery.host import Host
from ml_chassis import registry
from ml_chassis.delivery import record as releases
from ml_chassis.delivery.shadow import record
from ml_chassis.observe.demo.copied import rows
from ml_chassis.serving.predictor import Predictor
from waiting import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # it trains twice
    pytest.mark.usefixtures("with_envoy"),
]

FAULTY = """
import sys
from pathlib import Path
from ml_chassis import project
from ml_chassis.delivery.demo.stage import FAULTY
from ml_chassis.delivery.gateway import Place
from ml_chassis.delivery.shadow import command
sys.path.insert(0, "src")
place = Place(command=(*FAULTY, sys.argv[2]))
sys.exit(command.run(project.read(), sys.argv[1], 100, 8, place))
"""
"""`chassis shadow VERSION`, with a fault."""
ENOUGH = 200


@pytest.fixture(autouse=True)
def _none_before(host: Host) -> Iterator[None]:
    (host.gateway.folder / record.SHADOW).unlink(missing_ok=True)
    yield
    # Whatever became of it, only the champion has answered.
    assert host.traffic.versions.keys() == {host.stage.champion}


def database(host: Host) -> sa.Engine:
    return sa.create_engine(f"sqlite:///{host.stage.copy.folder}/data/feedback.db")


def pairs(host: Host) -> list[tuple[float, float]]:
    """Return what both have predicted for the same requests."""
    asked = """
        SELECT p.prediction, s.prediction FROM feedback_predictions p
        JOIN feedback_shadow s ON s.id = p.id
    """
    with database(host).connect() as connection:
        return [(float(one), float(other)) for one, other in connection.execute(sa.text(asked))]


def page(host: Host) -> str:
    return (host.gateway.folder / "shadow.html").read_text(encoding="utf-8")


def start(host: Host) -> "subprocess.Popen[str]":
    """Start a shadow that goes on until it is told to end."""
    command = [sys.executable, "-m", "ml_chassis", "shadow", host.stage.challenger]
    return subprocess.Popen(
        command,
        cwd=host.stage.copy.folder,
        env=host.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_both_predict_the_same_rows_and_are_compared(host: Host) -> None:
    shadow = start(host)
    wait_for(lambda: (host.gateway.folder / record.SHADOW).exists(), "it has begun")
    wait_for(lambda: len(pairs(host)) > ENOUGH, "both have predicted")
    shadow.send_signal(signal.SIGINT)
    said, _ = shadow.communicate()
    assert shadow.returncode == 0, said
    assert "the same decision for" in said

    predicted = of_both_models(host)
    for stable, other in pairs(host):
        nearest = min(predicted, key=lambda each: abs(each[0] - stable) + abs(each[1] - other))
        assert nearest == pytest.approx((stable, other), abs=1e-5)
    assert any(stable != other for stable, other in pairs(host))

    written = page(host)
    for title in ("Predictions", "Decisions", "Labels", "Slices", "Furthest apart", "Service"):
        assert f"<h2>{title}</h2>" in written
    assert "Fewer than 30 labels have come" in written
    assert "<td>0 %</td><td>0 %</td>" in written  # failed ones of both

    label(host)
    code, said = host.chassis("shadow")
    assert code == 0, said
    assert "Mean log loss" in page(host)


def of_both_models(host: Host) -> list[tuple[float, float]]:
    """Return what both models predict for the rows that are asked."""
    contract, asked = host.stage.copy.project.contract, rows(host.stage.copy)
    arrays = contract.to_arrays([contract.to_row(each.features) for each in asked])
    both = [
        Predictor(contract, registry.load(host.stage.copy.models, version)[0]).predict(*arrays)
        for version in (host.stage.champion, host.stage.challenger)
    ]
    return [*zip(*(np.asarray(each).tolist() for each in both), strict=True)]


def label(host: Host) -> None:
    """Tell labels of what was predicted."""
    with database(host).connect() as connection:
        asked = sa.text("SELECT id FROM feedback_shadow ORDER BY id LIMIT 100")
        names = connection.scalars(asked).all()
    labels = [{"prediction_id": name, "label": name < "8"} for name in names]
    url = f"{host.gateway.addresses.service}/feedback"
    told = httpx.post(url, json={"labels": labels}, timeout=30, trust_env=False)
    assert told.json()["joined"] == len(names), told.text


def test_what_a_bad_one_fails_is_told_and_no_client_sees_it(host: Host) -> None:
    command = [sys.executable, "-c", FAULTY, host.stage.challenger, "errors"]
    done = subprocess.run(
        command,
        cwd=host.stage.copy.folder,
        env=host.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Each fourth one fails.
    assert re.search(r"<td>Failed \(5xx, 429\)</td><td>0 %</td><td>2[45](\.\d)? %</td>", page(host))


def test_one_that_does_not_start_is_told(host: Host) -> None:
    command = [sys.executable, "-c", FAULTY, host.stage.challenger, "start"]
    done = subprocess.run(
        command,
        cwd=host.stage.copy.folder,
        env=host.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "name 'threshold' is not defined" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_that_was_killed_leaves_nothing_behind_and_can_begin_again(host: Host) -> None:
    shadow = start(host)
    wait_for(lambda: (host.gateway.folder / record.SHADOW).exists(), "it has begun")
    code, said = host.chassis("shadow", host.stage.challenger)
    assert (code, "is under way" in said) == (1, True), said
    shadow.send_signal(signal.SIGKILL)
    shadow.communicate()
    code, said = host.chassis("shadow", host.stage.challenger, "--seconds", "6", "--share", "50")
    assert code == 0, said
    routes = (host.gateway.folder / "discovered/routes.json").read_text(encoding="utf-8")
    assert "mirror" not in routes


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "There was no shadow yet: make shadow VERSION=..."),
        (["{champion}"], "is the champion itself"),
        (["nobody"], "No model 'nobody'"),
        (["challenger", "--share", "0"], "--share"),
        (["challenger", "--seconds", "nan"], "--seconds"),
    ],
)
def test_what_cannot_be_done_is_told(host: Host, arguments: list[str], named: str) -> None:
    given = [each.format(champion=host.stage.champion) for each in arguments]
    code, said = host.chassis("shadow", *given)
    assert code != 0
    assert named in said
    assert "Traceback" not in said


def test_while_a_release_has_not_ended_there_is_no_shadow(host: Host) -> None:
    begun = releases.began(host.stage.challenger, host.stage.champion, [50])
    releases.write(host.gateway.folder, begun)
    code, said = host.chassis("shadow", host.stage.challenger)
    assert (code, "make canary DO=abort" in said) == (1, True), said


def test_without_a_database_for_predictions_it_is_said_what_to_set(tmp_path: Path) -> None:
    copies.copied(tmp_path)
    done = copies.run(tmp_path, "-m", "ml_chassis", "shadow", "challenger")
    assert done.returncode == 1
    assert "MODEL_SERVICE_FEEDBACK_URL" in done.stderr


def test_a_record_that_cannot_be_read_is_named(host: Host) -> None:
    path = host.gateway.folder / record.SHADOW
    path.write_text(json.dumps({"version": 1}))
    code, said = host.chassis("shadow")
    assert (code, str(record.SHADOW) in said, "Traceback" in said) == (1, True, False), said
    path.unlink()
