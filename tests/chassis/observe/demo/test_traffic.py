"""Traffic goes on whatever the service does, and counts it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from chassis.flights import CONTRACT
from ml_chassis.observe.demo import traffic
from ml_chassis.observe.demo.copied import Row
from ml_chassis.observe.demo.traffic import BAD_EVERY, BATCH, UNKNOWN_FIELD, Traffic
from ml_chassis.programs import free_port
from ml_chassis.serving.messages import Messages, RefusedError
from servers import Handler, running_server
from waiting import wait_for

ROWS = [Row({"number": number}, number % 2 == 0) for number in range(30)]
OTHERS = [Row({"number": -1}, True)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask without a pause."""
    monkeypatch.setattr(traffic, "PAUSE_SECONDS", 0.001)


class Answer(NamedTuple):
    """What it answers to a request for predictions; no status: it breaks the connection."""

    status: int | None = 200
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Service(NamedTuple):
    """One that stands in for the service."""

    url: str
    requests: list[tuple[str, dict[str, Any]]]

    def of(self, path: str) -> list[dict[str, Any]]:
        return [body for asked, body in self.requests if asked == path]


@contextmanager
def service(answer: Callable[[int], Answer], feedback: int = 200) -> Iterator[Service]:
    """Run one whose answers follow from the number of the request, from 1."""
    requests = list[tuple[str, dict[str, Any]]]()

    class Standing(Handler):
        def do_POST(self) -> None:
            body = json.loads(self.body())
            requests.append((self.path, body))
            asked = sum(path == "/predict" for path, _ in requests)
            if self.path == "/feedback":
                self.answer(b"{}", feedback)
            else:
                self.predict(answer(asked), [f"{asked}-{at}" for at in range(len(body["rows"]))])

        def predict(self, given: Answer, ids: list[str]) -> None:
            if given.status is None:
                return
            content = given.body or json.dumps({"prediction_id": ids}).encode()
            self.send_response(given.status)
            for header in (*given.headers, ("Content-Length", str(len(content)))):
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(content)

    with running_server(Standing) as url:
        yield Service(url, requests)


def good(_: int) -> Answer:
    return Answer()


def test_rows_are_asked_in_turn_and_their_labels_are_told_by_id() -> None:
    with service(good) as asked, Traffic(lambda: asked.url, ROWS) as sent:
        wait_for(lambda: sent.counts.answered >= 3, "three requests were answered")

    rows = [row["number"] for body in asked.of("/predict")[:3] for row in body["rows"]]
    assert rows == [*range(30), *range(30)]
    labels = asked.of("/feedback")[1]["labels"]
    expected = [number % 2 == 0 for number in [*range(20, 30), *range(10)]]
    assert labels == [
        {"prediction_id": f"2-{at}", "label": label} for at, label in enumerate(expected)
    ]


def test_other_rows_are_asked_from_then_on() -> None:
    with service(good) as asked, Traffic(lambda: asked.url, ROWS) as sent:
        sent.ask(OTHERS)
        rows = [dict(OTHERS[0].features)] * BATCH
        wait_for(lambda: asked.of("/predict")[-1:] == [{"rows": rows}], "others are asked")


def test_the_service_is_asked_where_it_is_now() -> None:
    with service(good) as first, service(good) as second:
        urls = [first.url]
        with Traffic(lambda: urls[-1], ROWS) as sent:
            wait_for(lambda: sent.counts.answered >= 2, "the first one has answered")
            urls.append(second.url)
            wait_for(lambda: len(second.of("/feedback")) >= 2, "the second one has answered")
        assert sent.counts.failed == 0


def test_no_labels_are_told_of_what_the_fallback_answers() -> None:
    degraded = Answer(headers=(("degraded", "no model"),))
    with service(lambda _: degraded) as asked, Traffic(lambda: asked.url, ROWS) as sent:
        wait_for(lambda: sent.counts.degraded >= 3, "the fallback has answered")

    assert not asked.of("/feedback")
    assert sent.counts.answered == 0


def test_now_and_then_a_row_is_not_valid_and_the_refusal_is_counted() -> None:
    with (
        service(lambda number: Answer(200 if number % BAD_EVERY else 422)) as asked,
        Traffic(lambda: asked.url, ROWS) as sent,
    ):
        wait_for(lambda: sent.counts.refused >= 2, "two are refused")

    bodies = asked.of("/predict")
    found = [at for at, body in enumerate(bodies, 1) if UNKNOWN_FIELD in body["rows"][-1]]
    assert found == [at for at in range(1, len(bodies) + 1) if at % BAD_EVERY == 0]
    assert sent.counts.failed == 0
    with pytest.raises(RefusedError) as refused:
        Messages(CONTRACT).check_row(0, {**CONTRACT.example_row(), UNKNOWN_FIELD: True})
    assert refused.value.status == 422


@pytest.mark.parametrize(
    "answer",
    [
        Answer(None),
        Answer(500),
        Answer(429),
        Answer(401),
        Answer(body=b"<html>"),
        Answer(body=b"[]"),
        Answer(body=b'{"prediction_id": ["one"]}'),
    ],
    ids=["broken", "error", "overload", "key", "no JSON", "no object", "too few"],
)
def test_what_is_not_answered_is_counted_and_asked_again(answer: Answer) -> None:
    with (
        service(lambda number: answer if number <= 3 else Answer()) as asked,
        Traffic(lambda: asked.url, ROWS) as sent,
    ):
        wait_for(lambda: sent.counts.answered > 0, "it answers again")

    assert sent.counts.failed == 3
    assert sent.counts.refused == 0


def test_a_service_that_is_away_is_asked_until_the_end() -> None:
    away = f"http://127.0.0.1:{free_port()}"
    with Traffic(lambda: away, ROWS) as sent:
        wait_for(lambda: sent.counts.failed >= 3, "three have failed")

    assert sent.counts == (0, 0, 0, sent.counts.failed)


@pytest.mark.parametrize("status", [404, 503])
def test_labels_that_are_not_taken_do_not_matter(status: int) -> None:
    with service(good, status) as asked, Traffic(lambda: asked.url, ROWS) as sent:
        wait_for(lambda: sent.counts.answered >= 3, "requests are answered all the same")

    assert len(asked.of("/feedback")) >= 2
    assert sent.counts.failed == 0
