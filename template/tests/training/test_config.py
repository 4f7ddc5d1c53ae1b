"""training.toml is checked before anything runs."""

from pathlib import Path

import pytest

from model_service.training.config import ConfigError, read
from model_service.training.train import CONFIG


def test_the_file_of_this_project_is_valid() -> None:
    assert read(CONFIG).gates.minimum_auc > 0.5


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("seed =", "sead =", "sead"),
        ("minimum_auc = ", "minimum_auc = -", "minimum_auc"),
        ("seed = 2013", "seed = -1", "seed"),
        ("test_from = 2013-10-01", "test_from = 'soon'", "test_from"),
        ("[gates]", "[gates", "gates"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    text = CONFIG.read_text(encoding="utf-8")
    assert old in text
    changed = tmp_path / "training.toml"
    changed.write_text(text.replace(old, new), encoding="utf-8")

    with pytest.raises(ConfigError, match=named):
        read(changed)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        read(tmp_path / "none.toml")
