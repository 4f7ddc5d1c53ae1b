"""A project is adopted by one process at a time."""

from pathlib import Path
from typing import Any, cast

import pytest

from chassis.flights import PROJECT
from ml_chassis.adopt.stage import STAGE, adopt
from ml_chassis.data.lock import BusyError, in_file


def test_of_two_adoptions_one_is_refused_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (STAGE / "begun").mkdir(parents=True)
    with (
        in_file(STAGE.parent / "lock", "adoption"),
        pytest.raises(BusyError, match="Another adoption runs: "),
    ):
        adopt(PROJECT, cast(Any, None))

    assert (STAGE / "begun").exists()
