"""One line for each event, which names the request, and no flood of them."""

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ml_chassis import logs
from ml_chassis.current import CURRENT, RequestContext

Read = Callable[[], str]


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Read]:
    """Return what reads what the log of this process wrote; afterwards, it is as before."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    root.handlers = []
    yield lambda: capsys.readouterr().err
    root.handlers, root.level = before
    logging.captureWarnings(False)
    CURRENT.set(None)


def lines(read: Read) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read().splitlines()]


def test_a_line_of_json_has_the_fields_of_the_event(written: Read) -> None:
    logs.start("json")

    logging.getLogger("a").info("%d rows", 3, extra={"rows": 3})

    (line,) = lines(written)
    assert line.pop("time").endswith(("Z", "+00:00"))
    known = {"message": "3 rows", "level": "INFO", "logger": "a", "pid": os.getpid()}
    assert line == {**known, "rows": 3}


def test_an_exception_is_in_the_line(written: Read) -> None:
    logs.start("json")

    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("a").exception("it failed")

    (line,) = lines(written)
    assert "ValueError: two\nlines" in line["exception"]


def test_a_line_of_text_has_the_fields_behind_the_message(written: Read) -> None:
    logs.start("text")

    logging.getLogger("a").warning("it took long", extra={"seconds": 1.5})

    assert written().endswith(f" WARNING [{os.getpid()}] it took long seconds=1.5\n")


def test_a_field_cannot_look_like_another_one(written: Read) -> None:
    logs.start("text")

    logging.getLogger("a").info("asked", extra={"name_given": "x\nlevel=CRITICAL rows=3"})

    assert written().endswith(' asked name_given="x\\nlevel=CRITICAL rows=3"\n')


def test_half_a_character_is_no_reason_to_lose_a_line(written: Read) -> None:
    logs.start("json")

    logging.getLogger("a").info("half: %s", "\ud800")

    assert json.loads(written())["message"] == "half: \ud800"


def test_a_failure_is_told_among_many_successes(written: Read) -> None:
    logs.start("json")
    for _ in range(2 * logs.MOST):
        logging.getLogger("a").info("answered %d", 200)

    logging.getLogger("a").error("answered %d", 500)

    assert lines(written)[-1]["message"] == "answered 500"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_names_the_request_that_is_watched(form: logs.Format, written: Read) -> None:
    logs.start(form)
    logging.getLogger("a").info("none")
    CURRENT.set(RequestContext({"x-request-id": "mine"}))

    logging.getLogger("a").info("one")

    none, one = written().splitlines()
    assert "request_id" not in none
    assert "request_id=mine" in one or json.loads(one)["request_id"] == "mine"


def test_a_flood_is_bounded_and_told(written: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 7.5
    monkeypatch.setattr(logs, "monotonic", lambda: now)
    logs.start("json")
    for number in range(logs.MOST + 20):
        logging.getLogger("a").error("failure %d", number)
    logging.getLogger("a").error("another thing")
    now = 8.5

    logging.getLogger("a").error("failure %d", 1_000)

    said = lines(written)
    assert len(said) == logs.MOST + 2
    assert said[-2]["message"] == "another thing"
    assert said[-1]["message"] == "failure 1000"
    assert said[-1]["dropped"] == 20


def test_a_warning_of_a_library_is_a_line(written: Read) -> None:
    logs.start("json")

    warnings.warn("soon gone", DeprecationWarning, stacklevel=1)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("soon gone", UserWarning, stacklevel=1)

    assert any("soon gone" in line["message"] for line in lines(written))
