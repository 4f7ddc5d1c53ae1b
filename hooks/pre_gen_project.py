"""Cookiecutter: refuse bad answers, and put the tree where Cookiecutter looks for it."""

import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Cookiecutter renders a hook into the temporary directory and leaves it there, answers included.
if Path(__file__).parent == Path(tempfile.gettempdir()):
    Path(__file__).unlink()

# JSON never has three quotes in a row, so no answer can end these strings.
ANSWERS: dict[str, Any] = json.loads(r"""{{= cookiecutter | tojson =}}""")
# As given with name=value, before Cookiecutter rendered them.
GIVEN: dict[str, Any] = json.loads(r"""{{= _cookiecutter | default({}) | tojson =}}""")
PROJECT = Path()
# What an answer does not bring, and is there already: Cookiecutter writes over it, and
# post_gen_project.py puts it back.
KEPT = PROJECT / ".kept-by-cookiecutter"


def main() -> None:
    """Refuse, or make the link usable and keep what the project has of its own."""
    if errors := find_errors():
        print(refusal(errors), file=sys.stderr)
        sys.exit(1)
    if repository := find_repository():
        replace_broken_link(repository)
    give_back()
    keep([path for pattern in filter(None, ANSWERS["__unchosen"]) for path in own(pattern)])


def own(pattern: str) -> Iterable[Path]:
    """Return what is there under a pattern of copier.yml's _exclude."""
    return PROJECT.glob(pattern[1:]) if pattern.startswith("/") else PROJECT.rglob(pattern)


def give_back() -> None:
    """Put back what a run before kept and, as it failed, did not."""
    for path in sorted(KEPT.rglob("*")):
        target = PROJECT / path.relative_to(KEPT)
        if path.is_dir() and not path.is_symlink():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.unlink(missing_ok=True)
            path.replace(target)
    if KEPT.is_dir():
        shutil.rmtree(KEPT)


def keep(paths: Iterable[Path]) -> None:
    """Move files and folders aside: what is written to a link would be written where it leads."""
    for path in paths:
        aside = KEPT / path
        if path.exists() or path.is_symlink():
            aside.parent.mkdir(parents=True, exist_ok=True)
            path.replace(aside)


def find_errors() -> dict[str, str]:
    """Return what Copier's validators would say, by question."""
    errors = {name: text for name, text in ANSWERS["__errors"].items() if text}
    for name, given in GIVEN.items():
        # Cookiecutter renders what is given by name=value; Copier sees the markers and refuses.
        rendered = isinstance(given, str) and any(mark in given for mark in ("{{", "{%", "{#"))
        if rendered and given != ANSWERS["_computed_defaults"].get(name):
            errors[name] = ANSWERS["_messages"][name]
    public = [str(ANSWERS[name]) for name in sorted(ANSWERS) if not name.startswith("_")]
    if ANSWERS["__answers"] != "\n".join(public):
        errors["replay"] = "The recorded answers were edited, but not what was computed from them."
    return errors


def refusal(errors: dict[str, str]) -> str:
    """Return the message, framed since Cookiecutter prints a traceback after it."""
    accepted = [f"{name}={ANSWERS[name]}" for name in GIVEN if name not in errors]
    template, output = str(ANSWERS["_template"]), str(ANSWERS["_output_dir"])
    again = shlex.join(["cookiecutter", "--output-dir", output, template, *accepted])
    lines = [f"  {name}: {text}" for name, text in errors.items()]
    frame = "=" * 80
    return "\n".join(
        [
            frame,
            "Refused, and nothing was written. What is wrong:",
            *lines,
            "To be asked again, with the other answers as defaults:",
            f"  {again}",
            frame,
        ]
    )


def find_repository() -> Path | None:
    """Return the template's folder: where Cookiecutter works while a hook runs."""
    given = str(ANSWERS.get("_repo_dir", ""))
    bases = (f"/proc/{os.getppid()}/cwd", os.path.join(os.environ.get("PWD", ""), given), given)
    found = (Path(base) for base in bases if (Path(base) / "copier.yml").is_file())
    return next(found, None)


def replace_broken_link(repository: Path) -> None:
    """Copy template/ where zip, or Windows, made a text file of the link to it."""
    for link in repository.glob(".*cookiecutter.*"):
        if link.is_file():
            link.unlink()
            shutil.copytree(repository / "template", link)


main()
