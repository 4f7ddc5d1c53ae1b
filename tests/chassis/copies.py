"""Copies of the project whose code a test changes, and commands that are run in them."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

TRAINING = """
seed = 1
test_from = 2013-10-01
[parameters]
max_iter = 20
learning_rate = 0.1
max_leaf_nodes = 8
min_samples_leaf = 40
l2_regularization = 1.0
"""
"""A training that is quick, and asks nothing of the model."""
GATES = """
[gates.gain_over_champion]
minimum = -0.01
reason = "so few rows prove little"
"""
"""What is asked of a model where something must be."""
COMMANDS = """
import json, sys
from ml_chassis import cli
for arguments in json.loads(sys.argv[1]):
    try:
        cli.main(arguments, prog_name="chassis")
    except SystemExit as ended:
        if ended.code:
            raise
"""


def copied(folder: Path) -> Path:
    """Copy the project into a folder; return that of the package in it."""
    unwanted = shutil.ignore_patterns("chassis", "models", "build", "__pycache__", "*.db")
    shutil.copytree(".", folder, ignore=unwanted, dirs_exist_ok=True)
    return folder / "src" / "model_service"


def edit(path: Path, changes: Mapping[str, str]) -> None:
    """Replace what regular expressions find, each of which must find something."""
    text = path.read_text(encoding="utf-8")
    for pattern, replacement in changes.items():
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    path.write_text(text, encoding="utf-8")


def settings_of(folder: Path) -> dict[str, str]:
    """Return the settings by which a process uses what is in the copy."""
    return {
        "PYTHONPATH": str(folder / "src"),
        "MODEL_SERVICE_DATABASE_URL": f"sqlite:///{folder}/data/service.db",
        "MODEL_SERVICE_MODELS_DIR": str(folder / "models"),
    }


def run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy; settings are added to its own."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **settings_of(folder), **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def chassis(folder: Path, *commands: str, **settings: str) -> str:
    """Run commands, which must succeed, in one process, which imports all but once.

    Returns:
        What they said.
    """
    given = json.dumps([each.split() for each in commands])
    done = run(folder, "-c", COMMANDS, given, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
