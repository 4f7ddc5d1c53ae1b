"""Generate the project, train its model, and make the environments of the competitors."""

import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterable
from pathlib import Path

import copier
from copier.errors import DirtyLocalWarning

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks"
BUILD = ROOT / "build" / "bench"
PROJECT = BUILD / "project"
MODEL = BUILD / "model"
UV = os.environ.get("UV") or shutil.which("uv") or "uv"  # `uv run` names itself
REQUIREMENTS = {"others": "requirements.txt", "mlserver": "requirements-mlserver.txt"}
OPTIONAL = {"mlserver"}
# Variables by which this environment would leak into the others.
OURS = {"MFLAGS", "PYTHONPATH", "UV", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON", "VIRTUAL_ENV"}


def build() -> dict[str, Path]:
    """Make everything anew and return the folders of the environments that could be made."""
    generate()
    found = {"project": install_as_in_image()}
    locked = run(
        PROJECT, UV, "export", "--quiet", "--all-extras", "--no-hashes", "--no-emit-project"
    ).splitlines()
    for name, file in REQUIREMENTS.items():
        print(f"Installing {file}.", flush=True)
        try:
            found[name] = install(name, HERE / file, locked)
        except subprocess.CalledProcessError:
            if name not in OPTIONAL:
                raise
            print("It cannot be installed, and is left out.")
    print("Fitting the same model for scikit-learn.", flush=True)
    run(PROJECT, PROJECT / ".venv/bin/python", HERE / "fit.py", MODEL)
    return found


def generate() -> None:
    """Generate the default project anew, and train its model."""
    shutil.rmtree(BUILD, ignore_errors=True)
    MODEL.mkdir(parents=True)
    print("Generating the default project, training its model.", flush=True)
    with warnings.catch_warnings(action="ignore", category=DirtyLocalWarning):
        copier.run_copy(str(ROOT), PROJECT, defaults=True, quiet=True, vcs_ref="HEAD")
    run(PROJECT, "make", "setup", "train")


def install_as_in_image() -> Path:
    """Make an environment of what the image holds; libraries find others there and import them."""
    folder = BUILD / "serving"
    command = (UV, "sync", "--locked", "--no-dev", "--python", PROJECT / ".venv/bin/python")
    run(PROJECT, "env", f"UV_PROJECT_ENVIRONMENT={folder}", *command)
    return folder


def install(name: str, requirements: Path, locked: Iterable[str]) -> Path:
    """Make an environment with the project's Python and its locked versions."""
    folder = BUILD / name
    lines = requirements.read_text().splitlines()
    unpinned = {line.partition("[")[0] for line in lines if "==" not in line}
    constraints = BUILD / f"constraints-{name}.txt"
    constraints.write_text(
        "\n".join(line for line in locked if line.partition("==")[0] in unpinned)
    )
    run(BUILD, UV, "venv", "--python", PROJECT / ".venv/bin/python", folder)
    python = folder / "bin/python"
    chosen = ("--requirements", requirements, "--constraints", constraints)
    run(BUILD, UV, "pip", "install", "--python", python, *chosen)
    return folder


def versions(environment: Path) -> dict[str, str]:
    """Return the version of each package of an environment."""
    python = environment / "bin/python"
    listed = run(BUILD, UV, "pip", "list", "--quiet", "--format", "json", "--python", python)
    return {package["name"]: package["version"] for package in json.loads(listed)}


def run(folder: Path, *command: str | Path) -> str:
    """Run a command that must succeed and return what it said.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(Path(UV).parent),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        print(done.stdout)
    done.check_returncode()
    return done.stdout


def environment(first: Path, **settings: str) -> dict[str, str]:
    """Return the variables of a command that finds its programs in a folder first."""
    outside = {
        name: value
        for name, value in os.environ.items()
        if name not in OURS and not name.startswith(("MAKE", "MODEL_SERVICE_"))
    }
    return {**outside, "PATH": f"{first}{os.pathsep}{outside['PATH']}", **settings}
