"""Cookiecutter: drop what Copier would not have written, and record where the project is from."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Cookiecutter renders a hook into the temporary directory and leaves it there, answers included.
if Path(__file__).parent == Path(tempfile.gettempdir()):
    Path(__file__).unlink()

# JSON never has three quotes in a row, so no answer can end this string.
ANSWERS: dict[str, Any] = json.loads(r"""{{= cookiecutter | tojson =}}""")
PROJECT = Path()
KEPT = PROJECT / ".kept-by-cookiecutter"  # by pre_gen_project.py
# What Copier takes for the address of a repository.
ADDRESSES = ("git@", "git://", "git+", "gh:", "gl:", "https://github.com/", "https://gitlab.com/")


def main() -> None:
    """Make the project what Copier would have made."""
    remove(matches(PROJECT, ANSWERS["__unchosen"]))
    if KEPT.is_dir():
        shutil.copytree(KEPT, PROJECT, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(KEPT)
    if repository := find_repository():
        template = repository / "template"
        # Only what came from the template: with --overwrite-if-exists the project has its own.
        leftovers = matches(template, ANSWERS["_leftovers"])
        remove(PROJECT / path.relative_to(template) for path in leftovers)
        remove_empty_folders(template)
        record_origin(repository)
        restore_broken_link(repository)
    make_scripts_executable()
    print(ANSWERS["__next"])


def matches(root: Path, patterns: list[str]) -> list[Path]:
    """Return the paths that patterns of copier.yml's _exclude name."""
    found: list[Path] = []
    for pattern in filter(None, patterns):
        found += root.glob(pattern[1:]) if pattern.startswith("/") else root.rglob(pattern)
    return found


def remove(paths: Iterable[Path]) -> None:
    """Delete files and folders."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def remove_empty_folders(template: Path) -> None:
    """Delete folders that git, and so Copier, does not know since they are empty."""
    for folder in sorted(template.rglob("*/"), reverse=True):
        written = PROJECT / folder.relative_to(template)
        if written.is_dir() and not any(written.iterdir()):
            written.rmdir()


def make_scripts_executable() -> None:
    """Give scripts the mode that git has for them: zip loses it."""
    for path in PROJECT.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(2) == b"#!":
                    path.chmod(path.stat().st_mode | 0o111)


def find_repository() -> Path | None:
    """Return the template's folder: where Cookiecutter works while a hook runs."""
    given = str(ANSWERS.get("_repo_dir", ""))
    bases = (f"/proc/{os.getppid()}/cwd", os.path.join(os.environ.get("PWD", ""), given), given)
    found = (Path(base) for base in bases if (Path(base) / "copier.yml").is_file())
    return next(found, None)


def record_origin(repository: Path) -> None:
    """Write _commit and _src_path as Copier does, so that `copier update` works."""
    answers = PROJECT / ".copier-answers.yml"
    comment, *lines = answers.read_text(encoding="utf-8").splitlines()
    origin = {"_commit": commit(repository), "_src_path": source(repository)}
    written = [
        f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in origin.items() if value
    ]
    kept = [line for line in lines if not line.startswith("_src_path:")]
    answers.write_bytes("\n".join([comment, *written, *kept, ""]).encode())


def commit(repository: Path) -> str:
    """Return the template's version."""
    if (repository / ".git").exists():
        return git(repository, "describe", "--tags", "--always")
    if not is_zip():  # Copier takes a plain folder as well, and then knows no version.
        return ""
    lines = (repository / ".git_archival.txt").read_text(encoding="utf-8").splitlines()
    found = dict(line.split(": ", 1) for line in lines if ": " in line and "$Format" not in line)
    return found.get("describe") or found.get("node", "")


def source(repository: Path) -> str:
    """Return the template's address, without a name and a password."""
    return re.sub(r"(https?://)[^/]*@", r"\1", address(repository))


def address(repository: Path) -> str:
    """Return the template's address, as it was given or as its clone knows it."""
    given = str(ANSWERS["_template"])
    if is_zip() or os.path.isabs(given) or given.startswith(ADDRESSES) or given.endswith(".git"):
        return given
    if given == ANSWERS["_repo_dir"]:  # a relative path, which means nothing inside the project
        return str(repository.resolve())
    return "git+" + git(repository, "remote", "get-url", "origin")


def is_zip() -> bool:
    """Tell whether the template came as an archive."""
    return str(ANSWERS["_template"]).lower().endswith(".zip")


def git(repository: Path, *arguments: str) -> str:
    """Return what git says, nothing if it cannot."""
    command = ["git", "-C", str(repository), *arguments]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return run.stdout.strip()


def restore_broken_link(repository: Path) -> None:
    """Undo what pre_gen_project.py did to a checkout without symbolic links."""
    for link in repository.glob(".*cookiecutter.*"):
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
            link.write_bytes(b"template")


main()
