"""What is known of a release stays, whole, for a controller that is started anew."""

from pathlib import Path

import pytest

from ml_chassis.delivery import progress, record
from ml_chassis.delivery.record import RecordError

BEGUN = progress.started(record.began("new", "old", [5, 50]), 1_000.0)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert record.read(tmp_path) is None
    record.write(tmp_path, BEGUN)
    assert record.read(tmp_path) == BEGUN


@pytest.mark.parametrize("text", ["", "{", '{"version": "new"}', '{"phase": "lost"}'])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / record.RELEASE).write_text(text)
    with pytest.raises(RecordError, match=r"release\.json: .* Remove it"):
        record.read(tmp_path)


def test_a_wish_is_taken_once(tmp_path: Path) -> None:
    assert record.take_wish(tmp_path) is None
    record.wish(tmp_path, "hold")
    record.wish(tmp_path, "abort")
    assert record.take_wish(tmp_path) == "abort"
    assert record.take_wish(tmp_path) is None


def test_a_wish_that_nobody_knows_is_none(tmp_path: Path) -> None:
    (tmp_path / record.WISH).write_text("run away")
    assert record.take_wish(tmp_path) is None
