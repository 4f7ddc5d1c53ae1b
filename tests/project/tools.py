"""Run the checking tools that are installed beside the tests."""

import subprocess
import sys
from pathlib import Path

TOOLS = Path(sys.prefix) / "bin"


def run_tool(project: Path, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a tool in the root of a project; all that it says is in `stdout`."""
    return subprocess.run(
        [str(TOOLS / tool), *arguments],
        cwd=project,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
