"""training.toml is checked before anything runs."""

import re
from pathlib import Path

import pytest

from chassis.flights import CONTRACT, PROJECT
from ml_chassis.training.config import CONFIG, ConfigError, read

QUALITY = CONTRACT.quality

DECAY = r"\[gates.decay\]"
GATE = rf"\[gates.{QUALITY}\]"
OPTIONAL_LINES = {"true_positive = .*", "slices = .*", "test_from = .*"}


def test_the_file_of_this_project_is_valid() -> None:
    assert read(PROJECT).gates[QUALITY].minimum is not None


@pytest.mark.parametrize(
    ("line", "wrong", "named"),
    [
        ("seed = .*", "sead = 1", "sead"),
        ("seed = .*", "seed = -1", "seed"),
        (GATE, f"[gates.{QUALITY}]\nmaximum = 0.7", f"{QUALITY}: give a minimum or a maximum"),
        (GATE, "[gates.none]", "gates.none"),
        (f"({GATE})\nminimum = .*", r"\1\nmaximum = 0.9", "higher is better, so give a minimum"),
        (f"({GATE})\nminimum = .*", r"\1\nminimum = nan", "finite number"),
        (f"({GATE})\nminimum = .*", r"\1\nminimum = 62", "no minimum can be 62"),
        (
            r"(\[gates.refused_share\])\nmaximum = .*",
            r"\1\nmaximum = 5",
            "gates.refused_share: it is 0 or more and 1 or less, so no maximum can be 5",
        ),
        (r"group_by = .*", "group_by = 'nope'", r"group_by: nope is no categorical [^;]*; [^;]*$"),
        (f"{DECAY}\nmaximum = .*", "[gates.decay]\nminimum = 0", "lower is better, so give a max"),
        (r"true_positive = .*", "true_positive = inf", "true_positive: .*finite number"),
        (r"true_positive = .*", "true_positive = -1", "worth more where the label is true"),
        (r"slices = .*", "slices = ['invented']", "slices"),
        ("test_from = .*", "test_from = 'soon'", "test_from"),
        (GATE, "[gates", "training"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, line: str, wrong: str, named: str) -> None:
    text, count = re.subn(f"(?m)^{line}$", wrong, CONFIG.read_text(encoding="utf-8"))
    if not count and line in OPTIONAL_LINES:
        pytest.skip("this project does without")
    assert count == 1
    changed = tmp_path / "training.toml"
    changed.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=named):
        read(PROJECT, changed)


def test_how_often_alerts_retrain_changes_no_model() -> None:
    stated = read(PROJECT)
    limits = {"hours_between": 1.5, "maximum_per_month": 2, "maximum_hours": 0.5}

    def other(**changed: float) -> str:
        retraining = stated.retraining.model_copy(update=changed)
        return stated.model_copy(update={"retraining": retraining}).fingerprint()

    assert other(**limits) == stated.fingerprint()
    assert other(evaluation_days=3) != stated.fingerprint()


def test_a_mark_of_the_encoding_is_no_mistake(tmp_path: Path) -> None:
    text = CONFIG.read_text(encoding="utf-8")
    changed = tmp_path / "training.toml"
    changed.write_text(text, encoding="utf-8-sig")
    assert read(PROJECT, changed) == read(PROJECT)

    changed.write_text(text, encoding="utf-16")
    with pytest.raises(ConfigError, match="not written in UTF-8"):
        read(PROJECT, changed)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        read(PROJECT, tmp_path / "none.toml")
