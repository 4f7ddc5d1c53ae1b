"""The story where it does not go on as it should."""

import os
from pathlib import Path
from typing import Any, cast

import pytest

from ml_chassis.errors import UserError
from ml_chassis.monitoring.files import RULES
from ml_chassis.observe.demo import story
from ml_chassis.observe.demo.traffic import Traffic
from ml_chassis.observe.demo.world import ROUTES, NotSoError, World, default_settings, require_all


class Ended:
    """A retrainer whose last retraining ended so."""

    def __init__(self, outcome: str) -> None:
        self.outcome = outcome

    def last(self) -> dict[str, Any]:
        return {"outcome": self.outcome, "reason": "the gate auc", "ended_at": "now"}


def a_world(retrainer: Any) -> World:
    return World(*cast(Any, (None, None, retrainer, None, None, 0)))


def test_a_challenger_that_is_refused_ends_it_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(NotSoError, match="was not promoted .refused.: the drift goes on"):
        story._retraining(a_world(Ended("refused")), cast(Traffic, None))
    assert "refused: the gate auc" in capsys.readouterr().out


def test_what_does_not_come_is_named_and_where_to_look() -> None:
    scene = type("Scene", (), {"copy": type("Copy", (), {"folder": Path("there")})})
    here = a_world(None)._replace(scene=cast(Any, scene))
    with pytest.raises(NotSoError, match=r"not yet: rain; .* is in there/\*.log"):
        here.wait_until(lambda: False, "rain")


def test_settings_of_the_real_service_are_left_out_but_for_its_sources(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {
        "MODEL_SERVICE_PORT": "1",
        "model_service_api_keys": "x",
        "MODEL_SERVICE_SOURCES": "{}",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with default_settings():
        assert [name for name in os.environ if name.upper().startswith("MODEL_SERVICE_")] == [
            "MODEL_SERVICE_SOURCES"
        ]
    assert {name: os.environ.get(name) for name in given} == given


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("prometheus", "prometheus is not installed"),
        ("alertmanager", "alertmanager is not installed"),
        (str(RULES), "There is no monitoring/rules.yaml: make rules."),
        (str(ROUTES), "There is no monitoring/alertmanager.yaml"),
    ],
)
def test_what_is_missing_is_said_before_anything_takes_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str, said: str
) -> None:
    for path in (RULES, ROUTES):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        if str(path) != missing:
            (tmp_path / path).write_bytes(path.read_bytes())
    for program in {"prometheus", "alertmanager"} - {missing}:
        (tmp_path / program).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        require_all()
