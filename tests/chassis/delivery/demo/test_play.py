"""A good release and bad ones, as `make canary` plays them with real traffic."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from chassis import copies
from ml_chassis.delivery.demo.faults import FAULTS
from prometheus import tool

# Minutes, as it plays hours; its programs mostly wait for each other.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("with_envoy"),
]

REASONS = {
    "errors": "errors",
    "slow": "latency",
    "crash": "crashes",
    "hang": "absent",
    "nonsense": "predictions",
    "leak": "memory",
    "start": "start",
}
OUTCOME = re.compile(r"^  (\w+) +(promoted|rolled back)(?:: (.*))?$", re.MULTILINE)


class Played(NamedTuple):
    """What is left: the folder of the project, what was said, and the exit code."""

    folder: Path
    said: str
    code: int


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Play them in a project whose training is quick."""
    tool("prometheus")
    folder = tmp_path_factory.mktemp("releases")
    copies.copied(folder)
    (folder / "training.toml").write_text(copies.TRAINING + copies.GATES)
    given = {
        **os.environ,
        **copies.settings_of(folder),
        "MODEL_SERVICE_API_KEYS": "of-the-real-service-alone",
    }
    command = [sys.executable, "-m", "ml_chassis", "canary"]
    done = subprocess.run(
        command, cwd=folder, env=given, capture_output=True, text=True, check=False
    )
    return Played(folder, done.stdout + done.stderr, done.returncode)


def test_the_bad_ones_are_rolled_back_for_what_is_wrong_and_the_good_one_is_promoted(
    played: Played,
) -> None:
    found = {name: (phase, why) for name, phase, why in OUTCOME.findall(played.said)}
    assert found.keys() == {*FAULTS, "good"}, played.said
    assert found.pop("good") == ("promoted", "")
    for name, (phase, why) in found.items():
        assert phase == "rolled back", (name, played.said)
        assert REASONS[name] in why, (name, played.said)
    assert played.code == 0, played.said


def test_no_client_sees_it(played: Played) -> None:
    counted = re.search(r"Of ([\d,]+) requests .* and (\d+) failed", played.said)
    assert counted, played.said
    assert int(counted[1].replace(",", "")) > 1_000
    assert counted[2] == "0", played.said


def test_pages_say_what_happened(played: Played) -> None:
    folder = played.folder / "build/canary"
    assert "build/canary/index.html" in played.said
    index = (folder / "index.html").read_text(encoding="utf-8")
    for name, wrong in FAULTS.items():
        assert f'href="{name}.html"' in index
        assert wrong in index
        assert "was rolled back" in (folder / f"{name}.html").read_text(encoding="utf-8")
    assert "was promoted" in (folder / "good.html").read_text(encoding="utf-8")


def test_the_project_stays_as_it_was(played: Played) -> None:
    assert not (played.folder / "models").exists()
    assert not (played.folder / "data/service.db").exists()
    slo = (played.folder / "slo.yaml").read_text(encoding="utf-8")
    assert "weights: [5, 10, 25, 50]" in slo
