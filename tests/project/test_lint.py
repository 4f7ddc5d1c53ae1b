"""What strangers would run on a generated repository finds nothing, and each tool can find."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from project.combinations import DEFAULT, OPPOSITE, name_of
from project.conftest import Generate
from project.tools import TOOLS, run_tool


def zizmor(project: Path) -> subprocess.CompletedProcess[str]:
    """Audit the workflows for security."""
    return run_tool(project, "zizmor", "--offline", "--no-progress", ".github")


def actionlint(project: Path) -> subprocess.CompletedProcess[str]:
    """Check the workflows' syntax, expressions and shell scripts."""
    workflows = sorted(str(path) for path in (project / ".github" / "workflows").iterdir())
    return run_tool(project, "actionlint", f"-shellcheck={TOOLS / 'shellcheck'}", *workflows)


def hadolint(project: Path) -> subprocess.CompletedProcess[str]:
    """Check the Dockerfile."""
    return run_tool(project, "hadolint", "deploy/Dockerfile")


def shellcheck(project: Path) -> subprocess.CompletedProcess[str]:
    """Check the shell scripts."""
    return run_tool(project, "shellcheck", *(str(path) for path in project.glob("deploy/**/*.sh")))


Linter = Callable[[Path], "subprocess.CompletedProcess[str]"]
LINTERS: list[Linter] = [zizmor, actionlint, hadolint, shellcheck]

Edit = Callable[[str], str]
CI = ".github/workflows/ci.yml"
DOCKERFILE = "deploy/Dockerfile"


def needs_nobody(workflow: str) -> str:
    """Make the first job wait for one that does not exist."""
    return workflow.replace("    runs-on:", "    needs: nobody\n    runs-on:", 1)


# What each linter must find: the file, an edit that spoils it, and the name of the finding.
SPOILED: list[tuple[Linter, str, Edit, str]] = [
    (
        zizmor,
        CI,
        lambda text: text + "\n      - uses: astral-sh/setup-uv@v7\n",
        "unpinned-uses",
    ),
    (actionlint, CI, needs_nobody, "job-needs"),
    (hadolint, DOCKERFILE, lambda text: text + "\nUSER root\n", "DL3002"),
    (hadolint, DOCKERFILE, lambda text: text + "\nADD README.md /\n", "DL3020"),
    (shellcheck, "deploy/smoke.sh", lambda text: text + "\nrm $unquoted\n", "SC2086"),
]


@pytest.fixture(scope="module", params=[DEFAULT, OPPOSITE], ids=name_of)
def project(request: pytest.FixtureRequest, generate: Generate) -> Path:
    """Return a new project."""
    return generate(request.param)


@pytest.mark.parametrize("linter", LINTERS, ids=lambda linter: linter.__name__)
def test_the_linter_finds_nothing(project: Path, linter: Linter) -> None:
    found = linter(project)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("linter", "file", "spoil", "finding"),
    SPOILED,
    ids=[f"{linter.__name__}-{finding}" for linter, _, _, finding in SPOILED],
)
def test_the_linter_finds_what_is_wrong(
    generate: Generate, linter: Linter, file: str, spoil: Edit, finding: str
) -> None:
    project = generate(DEFAULT)
    (project / file).write_text(spoil((project / file).read_text()))
    found = linter(project)
    assert found.returncode != 0
    assert finding in found.stdout
