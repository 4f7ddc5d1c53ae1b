"""Units of an A/B test stay in their arm, and the champion answers what the challenger fails."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from chassis.flights import CONTRACT
from chassis.serving.test_scoring import BASE_RATE, ROW, Stub, fail
from ml_chassis.fallback import Fallback
from ml_chassis.serving.runtime import Runtime
from ml_chassis.serving.scoring import MAX_BATCH_ROWS, Model, Scored
from ml_chassis.serving.split import Split
from ml_chassis.settings import Settings, SettingsError, read

UNITS = 10_000


def asked(**headers: str) -> dict[str, Any]:
    """Return a request with these headers."""
    given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return {"headers": [*given.items()]}


def challengers(split: Split) -> set[int]:
    """Return the users who get the challenger."""
    assigned = {user: split.assign(asked(user_id=f"user {user}")) for user in range(UNITS)}
    return {user for user, each in assigned.items() if each and each.arm == "challenger"}


@pytest.mark.parametrize("share", [1, 10, 50, 99])
def test_the_challenger_gets_its_share_of_the_units(share: int) -> None:
    found = len(challengers(Split("a", "user-id", share)))
    expected, deviation = UNITS * share / 100, (UNITS * share / 100 * (1 - share / 100)) ** 0.5
    assert abs(found - expected) < 6 * deviation


def test_a_unit_stays_in_its_arm_in_all_replicas_and_when_the_share_grows() -> None:
    small, same, large = (challengers(Split("a", "user-id", share)) for share in (10, 10, 30))
    assert small == same
    assert small < large


def test_another_test_assigns_anew() -> None:
    first, second = (challengers(Split(name, "user-id", 50)) for name in ("a", "b"))
    assert 0.44 * len(first) < len(first & second) < 0.56 * len(first)


def test_what_names_no_unit_is_not_in_the_test() -> None:
    split = Split("a", "user-id", 50)
    for scope in (asked(), asked(user_id=""), asked(other_id="1"), asked(experiment_arm="both")):
        assert split.assign(scope) is None


def test_a_tester_chooses_an_arm_and_is_not_counted() -> None:
    split = Split("a", "user-id", 50)
    for arm in ("champion", "challenger"):
        for scope in (asked(experiment_arm=arm), asked(user_id="1", experiment_arm=arm)):
            assigned = split.assign(scope)
            assert assigned is not None
            assert (assigned.arm, assigned.exposure) == (arm, None)


def test_what_is_noted_of_a_unit_does_not_name_it() -> None:
    assigned = Split("a", "user-id", 50).assign(asked(user_id="ada@example.com"))
    assert assigned is not None
    assert assigned.exposure is not None
    assert assigned.exposure.experiment == "a"
    assert assigned.exposure.arm == assigned.arm
    assert len(assigned.exposure.unit) == 16
    assert "ada" not in assigned.exposure.unit


def answered(arm: Any, challenger: Stub, fallback: Fallback | None) -> Scored:
    """Return the answer to a row of an arm."""

    async def ask() -> Scored:
        settings = Settings(experiment="a", feedback_url=SecretStr("sqlite:///unused.db"))
        runtime = Runtime(CONTRACT, settings)
        runtime.scorer.use(Model("v1", Stub(), BASE_RATE, MAX_BATCH_ROWS))
        assert runtime.challenger
        runtime.challenger.use(Model("v2", challenger, fallback, MAX_BATCH_ROWS))
        return await runtime.score([ROW], arm)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("arm", "version"), [(None, "v1"), ("champion", "v1"), ("challenger", "v2")]
)
def test_each_arm_is_answered_by_its_model(arm: Any, version: str) -> None:
    assert answered(arm, Stub(), BASE_RATE).version == version


@pytest.mark.parametrize("fallback", [BASE_RATE, None])
def test_the_champion_answers_what_the_challenger_fails(fallback: Fallback | None) -> None:
    found = answered("challenger", Stub(fail), fallback)
    assert (found.version, found.degraded) == ("v1", None)


def test_a_test_needs_a_database_for_its_exposures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_SERVICE_EXPERIMENT", "a")
    with pytest.raises(SettingsError, match="MODEL_SERVICE_FEEDBACK_URL: set it"):
        read()
