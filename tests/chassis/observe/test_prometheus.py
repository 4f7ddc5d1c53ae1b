"""Answers of Prometheus, and what stands in their place."""

import json

import pytest

from ml_chassis.observe.prometheus import Prometheus, PrometheusError
from servers import Handler, running_server


class Answering(Handler):
    """Answers as Prometheus does, or as something else."""

    text = ""

    def do_GET(self) -> None:
        self.answer(self.text.encode(), 400 if "error" in self.text else 200)


def ask(text: str) -> Prometheus:
    Answering.text = text
    with running_server(Answering) as url:
        server = Prometheus(url)
        server.ask("up")
        return server


def test_a_question_that_it_does_not_understand_is_named_with_its_words() -> None:
    said = json.dumps({"status": "error", "error": "parse error: unexpected end"})
    with pytest.raises(PrometheusError, match="^up: parse error: unexpected end$"):
        ask(said)


@pytest.mark.parametrize("text", ["<html>", "[]", '"text"', "{}"])
def test_another_server_is_told_apart(text: str) -> None:
    with pytest.raises(PrometheusError, match="this is not Prometheus"):
        ask(text)


def test_one_that_is_away_is_said() -> None:
    with pytest.raises(PrometheusError, match="Prometheus does not answer"):
        Prometheus("http://127.0.0.1:1").ask("up")


def test_alerts_that_fire_come_first_and_pages_before_tickets() -> None:
    alerts = [
        {
            "labels": {"alertname": name, "severity": severity},
            "annotations": {"summary": "so it is"},
            "state": state,
            "activeAt": "2026-11-30T18:19:27.123456Z",
        }
        for name, severity, state in (
            ("A", "ticket", "pending"),
            ("B", "ticket", "firing"),
            ("C", "page", "firing"),
        )
    ]
    Answering.text = json.dumps({"status": "success", "data": {"alerts": alerts}})
    with running_server(Answering) as url:
        found = Prometheus(url).alerts()
    assert [(each.name, each.fires) for each in found] == [("C", True), ("B", True), ("A", False)]
    assert found[0].since == "2026-11-30 18:19:27"
    assert found[0].summary == "so it is"
