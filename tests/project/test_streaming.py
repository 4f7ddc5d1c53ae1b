"""`make stream` in a project, as its page shows it to a newcomer."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers import Redis
from project.tools import make
from waiting import PATIENCE_SECONDS, wait_for


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Redis]:
    """Run a broker."""
    running = Redis(tmp_path)
    running.start()
    yield running
    running.close()


def test_a_newcomer_sees_it_work(
    trained_project: Path, env: dict[str, str], broker: Redis, tmp_path: Path
) -> None:
    given = {
        **env,
        "MODEL_SERVICE_BROKER_URL": broker.url,
        "MODEL_SERVICE_DATABASE_URL": f"sqlite:///{tmp_path}/stream.db",
    }
    said = make(trained_project, given, "stream", "EXAMPLE=yes")
    assert "10 events like this are on events" in said
    (shown,) = (line for line in said.splitlines() if line.startswith("{"))
    assert {"id", "row"} == json.loads(shown).keys()

    with subprocess.Popen(
        ["make", "stream"], cwd=trained_project, env=given, start_new_session=True
    ) as process:
        wait_for(lambda: len(broker.read("model.predictions")) == 10, "answers")
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)
    assert broker.pending("events", "model") == 0
