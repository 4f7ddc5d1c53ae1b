"""Run commands in a project, and the checking tools that are installed beside the tests."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

TOOLS = Path(sys.prefix) / "bin"

Done = subprocess.CompletedProcess[str]


def run(
    folder: Path, *command: str | Path, env: Mapping[str, str] | None = None, seconds: int = 900
) -> Done:
    """Run a command in a folder; all that it says is in `stdout`."""
    return subprocess.run(
        command,
        cwd=folder,
        env=env,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
    )


def make(project: Path, env: Mapping[str, str], *tasks: str) -> str:
    """Run tasks that must succeed and return what they said."""
    done = run(project, "make", *tasks, env=env)
    assert done.returncode == 0, done.stdout
    return done.stdout


def run_tool(project: Path, tool: str, *arguments: str) -> Done:
    """Run a checking tool in the root of a project."""
    return run(project, TOOLS / tool, *arguments)
