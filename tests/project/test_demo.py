"""The first command of our README, on a clean clone."""

import shutil
from pathlib import Path

from project.tools import make
from render.engines import ROOT, commit_all, working_files


def test_the_demo_ends_with_a_prediction(env: dict[str, str], tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for name in working_files():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, clone / name, follow_symlinks=False)
    commit_all(clone, "v1.0.0")
    said = make(clone, env, "demo")
    assert '"predictions":[0.' in said
    assert "make serve" in said.split("Next:")[-1]
