"""Generate projects with both engines, in this process, from a copy of the template."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import copier
import jinja2
import pytest
from cookiecutter.environment import StrictEnvironment
from cookiecutter.main import cookiecutter
from copier._jinja_ext import SandboxedEnvironment

from nightly import NIGHTLY
from render.pairwise import every, pairwise

ROOT = Path(__file__).resolve().parents[2]
# What the engines read. README.md is here since its options table is derived as well.
TEMPLATE_PATHS = [
    ".{{=cookiecutter.__dir=}}",
    ".git_archival.txt",
    ".gitattributes",
    ".gitignore",
    "README.md",
    "cookiecutter.json",
    "copier.yml",
    "hooks",
    "template",
]
# The questions with choices and their values, the default first.
CHOICES: dict[str, list[str]] = {
    name: value
    for name, value in json.loads((ROOT / "cookiecutter.json").read_text("utf-8")).items()
    if isinstance(value, list) and not name.startswith("_")
}
COMBINATIONS = every(CHOICES) if NIGHTLY else pairwise(CHOICES)
"""Every pair of answers; all combinations at night."""
# For parametrize: tests of one combination share its projects, so xdist keeps them together.
EACH_COMBINATION = [
    pytest.param(answers, id=name, marks=pytest.mark.xdist_group(name))
    for answers in COMBINATIONS
    for name in ["-".join(answers.values())]
]

Answers = dict[str, str]
# Path -> executable bits and content; None for a folder.
Snapshot = dict[str, tuple[int, bytes | None]]

_compiled: dict[tuple[object, ...], object] = {}


def _compile_once(
    self: jinja2.Environment, source: Any, name: str | None = None, filename: str | None = None
) -> Any:
    """Compile a text as Jinja does, but only the first time: projects take thousands of the same.

    What it becomes depends on the class of the environment and the delimiters, which the lexer has.
    """
    key = (type(self), self.lexer, name, source)
    if key not in _compiled:
        _compiled[key] = jinja2.Environment.compile(self, source, name, filename)
    return _compiled[key]


for kind in (StrictEnvironment, SandboxedEnvironment):
    kind.compile = _compile_once  # type: ignore[method-assign]


def copy_template(destination: Path) -> Path:
    """Copy the template as it is in the working tree, without what git ignores."""
    for name in working_files(*TEMPLATE_PATHS):
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
    return destination


def working_files(*paths: str) -> list[str]:
    """Return the files under these paths that are, or could be, in the next commit."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths)
    names = sorted(set(filter(None, listed.split("\0"))))
    return [name for name in names if (ROOT / name).exists()]


def commit_all(repository: Path, tag: str) -> None:
    """Commit everything in a folder, made a repository if it is none, and tag it."""
    if not (repository / ".git").exists():
        git(repository, "init", "--quiet", "--initial-branch=main")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", tag)
    git(repository, "tag", tag)


def git(folder: Path, *arguments: str) -> str:
    """Run git and return what it prints."""
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    command = ["git", *identity, *arguments]
    run = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return run.stdout


def by_cookiecutter(template: str | Path, out: Path, **answers: str) -> Path:
    """Generate with Cookiecutter and return the project."""
    made = cookiecutter(str(template), no_input=True, extra_context=answers, output_dir=str(out))
    return Path(made)


def by_copier(template: str | Path, out: Path, **answers: str) -> Path:
    """Generate with Copier and return the project."""
    copier.run_copy(str(template), out / "project", data=answers, defaults=True, quiet=True)
    return out / "project"


ENGINES: dict[str, Callable[..., Path]] = {
    "cookiecutter": by_cookiecutter,
    "copier": by_copier,
}


def snapshot(project: Path) -> Snapshot:
    """Return everything in a project."""
    found: Snapshot = {}
    for path in sorted(project.rglob("*")):
        name = path.relative_to(project).as_posix()
        is_file = path.is_file()
        found[name] = (path.stat().st_mode & 0o777, path.read_bytes() if is_file else None)
    return found


def differences(one: Path, other: Path) -> list[str]:
    """Return what is not the same in two projects."""
    left, right = snapshot(one), snapshot(other)
    problems = [f"only in {one}: {name}" for name in left.keys() - right.keys()]
    problems += [f"only in {other}: {name}" for name in right.keys() - left.keys()]
    for name in left.keys() & right.keys():
        if left[name][0] != right[name][0]:
            problems.append(f"other mode: {name}")
        if left[name][1] != right[name][1]:
            problems.append(f"other content: {name}")
    return sorted(problems)
