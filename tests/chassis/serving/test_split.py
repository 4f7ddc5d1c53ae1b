"""Units of an A/B test stay in their arm, and the champion answers what the challenger fails."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from chassis.flights import CONTRACT
from chassis.serving.test_scoring import BASE_RATE, ROW, Stub, fail
from ml_chassis.current import PREDICTION_ID
from ml_chassis.fallback import Fallback
from ml_chassis.feedback.store import Store, utc_now
from ml_chassis.serving.api import endpoints
from ml_chassis.serving.messages import RefusedError
from ml_chassis.serving.openapi import document
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
    long = "a" * 64
    first, second = (challengers(Split(f"{long}{end}", "user-id", 50)) for end in ("a", "b"))
    assert 0.44 * len(first) < len(first & second) < 0.56 * len(first)


def test_what_names_no_unit_is_not_in_the_test() -> None:
    split = Split("a", "user-id", 50)
    for scope in (asked(), asked(user_id=""), asked(other_id="1")):
        assert split.assign(scope) is None


@pytest.mark.parametrize("arm", ["", "both", "Challenger"])
def test_an_arm_that_there_is_not_is_refused(arm: str) -> None:
    split = Split("a", "user-id", 50)
    with pytest.raises(RefusedError, match="experiment-arm: give champion or challenger"):
        split.assign(asked(user_id="1", experiment_arm=arm))


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


@pytest.mark.parametrize(("arm", "version"), [("champion", "v1"), ("challenger", "v2")])
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


def in_service(settings: Settings, stub: Stub, *requests: dict[str, str]) -> tuple[Runtime, Any]:
    """Return a service whose champion is a stub, and its answers to requests with headers."""
    runtime = Runtime(CONTRACT, settings)
    runtime.scorer.use(Model("v1", stub, BASE_RATE, MAX_BATCH_ROWS))
    if runtime.challenger:
        runtime.challenger.use(Model("v2", Stub(), BASE_RATE, MAX_BATCH_ROWS))

    async def ask() -> list[Any]:
        transport = httpx.ASGITransport(endpoints(runtime)["/predict"])
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            body = {"rows": [CONTRACT.example_row()]}
            answers = [
                await client.post("/predict", json=body, headers=headers) for headers in requests
            ]
        return [answer.json() for answer in answers]

    return runtime, asyncio.run(ask())


@pytest.mark.parametrize("stub", [Stub(), Stub(fail)], ids=["answers", "fails"])
def test_who_was_answered_is_noted_also_where_the_fallback_did(tmp_path: Path, stub: Stub) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    settings = Settings(experiment="a", feedback_url=SecretStr(url))
    users = [{"user-id": f"user {number}"} for number in range(20)]
    runtime, answers = in_service(settings, stub, *users, {"experiment-arm": "champion"}, {})
    assert runtime.feedback
    runtime.feedback.flush()

    store = Store(CONTRACT, url)
    found = store.units("a", utc_now())
    store.close()
    arms = ["challenger" if each["model_version"] == "v2" else "champion" for each in answers[:20]]
    assert sorted(each.arms[0] for each in found) == sorted(arms)
    assert {*arms} == {"champion", "challenger"}


def test_only_a_gateway_names_predictions_and_by_a_uuid() -> None:
    name = "123e4567-e89b-42d3-a456-426614174000"
    given = [{PREDICTION_ID: each} for each in (name, name.upper(), f"{name}-0", "a")]
    _, answers = in_service(Settings(gateway=True), Stub(), *given)
    assert [each["prediction_id"] == [f"{name}-0"] for each in answers] == [True] + 3 * [False]
    _, answers = in_service(Settings(), Stub(), *given)
    assert not any(each["prediction_id"] == [f"{name}-0"] for each in answers)


def test_the_document_names_the_headers_of_a_test() -> None:
    operation = document(CONTRACT, unit="user-id")["paths"]["/predict"]["post"]
    assert [each["name"] for each in operation["parameters"]] == ["user-id", "experiment-arm"]
    assert "parameters" not in document(CONTRACT)["paths"]["/predict"]["post"]
