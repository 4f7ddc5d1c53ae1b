"""Rules and routes whose minutes are seconds."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ml_chassis.errors import UserError
from ml_chassis.observe.demo.quicker import quicker, routes
from ml_chassis.observe.demo.world import ROUTES

TOLD, RETRAINER = "http://127.0.0.1:1", "http://127.0.0.1:2/alerts"


def test_each_duration_is_shorter_and_nothing_else() -> None:
    rules = {
        "groups": [
            {
                "name": "1h",
                "interval": "2m",
                "rules": [
                    {"record": "a:5m", "expr": "rate(x[1h30m]) / y[7d:1h] + z[1w] offset 1d"},
                    {"alert": "A", "expr": 'up{a="[b]"} > 60', "for": "15m", "labels": {"a": "5m"}},
                    {"alert": "B", "expr": "up[5m]", "for": "30s"},
                ],
            }
        ]
    }
    (group,) = quicker(rules, 60)["groups"]
    assert (group["name"], group["interval"]) == ("1h", "2s")
    first, second, third = group["rules"]
    assert first == {"record": "a:5m", "expr": "rate(x[90s]) / y[7d:1h] + z[10080s] offset 1440s"}
    assert second == {"alert": "A", "expr": 'up{a="[b]"} > 60', "for": "15s", "labels": {"a": "5m"}}
    assert (third["expr"], third["for"]) == ("up[5s]", "1s")


def test_a_duration_that_is_not_understood_is_named() -> None:
    with pytest.raises(UserError, match="not understood: 1y"):
        quicker({"expr": "up[1y]"}, 60)


def own(**changes: Any) -> dict[str, Any]:
    """Return the routes of the project, changed."""
    written: dict[str, Any] = yaml.safe_load(Path(ROUTES).read_text(encoding="utf-8"))
    return {**written, **changes}


def test_others_are_told_by_the_names_of_the_receivers_and_the_retrainer_where_it_is() -> None:
    found = routes(own(), TOLD, RETRAINER)
    nobody, *others = found["receivers"]
    assert nobody == {"name": "nobody"}
    urls = {each["name"]: each["webhook_configs"][0]["url"] for each in others}
    assert urls == {"page": f"{TOLD}/page", "ticket": f"{TOLD}/ticket", "retrain": RETRAINER}
    assert found["inhibit_rules"] == own()["inhibit_rules"]


def test_what_a_team_has_of_its_own_stays_away_from_those_who_are_told() -> None:
    receivers = [
        {"name": "team/pager two", "pagerduty_configs": [{"routing_key_file": "/secret"}]},
        {"name": "again", "webhook_configs": [{"url": "https://there:3001/alerts"}]},
    ]
    secret = {"http_config": {"authorization": {"credentials_file": "/secret"}}}
    given = own(receivers=receivers, time_intervals=[{"name": "night"}], **{"global": secret})
    found = routes(given, TOLD, RETRAINER)
    assert found.keys() == {"route", "receivers", "inhibit_rules"}
    assert "/secret" not in str(found)
    urls = [each["webhook_configs"][0]["url"] for each in found["receivers"]]
    assert urls == [f"{TOLD}/team/pager%20two", RETRAINER]


def test_nobody_is_told_later_or_at_certain_times_alone() -> None:
    night = {"active_time_intervals": ["night"], "mute_time_intervals": ["day"]}
    below = {"receiver": "page", "group_interval": "5m", "group_wait": "1m", **night}
    route = {"receiver": "ticket", "routes": [{**below, "routes": [below]}]}
    found = routes(own(route=route), TOLD, RETRAINER)["route"]
    for each in (found, found["routes"][0], found["routes"][0]["routes"][0]):
        assert (each["group_wait"], each["group_interval"]) == ("0s", "1s")
        assert not each.keys() & night.keys()


def test_routes_that_do_not_tell_the_retrainer_are_refused() -> None:
    receivers = [{"name": "retrain", "webhook_configs": [{"url": "http://there/other"}]}]
    with pytest.raises(UserError, match="no receiver tells the retrainer"):
        routes(own(receivers=receivers), TOLD, RETRAINER)
