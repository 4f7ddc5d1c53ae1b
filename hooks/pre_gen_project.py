"""Cookiecutter: refuse bad answers, and put the tree where Cookiecutter looks for it."""

import json
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

# Cookiecutter renders a hook into the temporary directory and leaves it there, answers included.
if Path(__file__).parent == Path(tempfile.gettempdir()):
    Path(__file__).unlink()

# JSON never has three quotes in a row, so no answer can end these strings.
ANSWERS: dict[str, Any] = json.loads(r"""{{= cookiecutter | tojson =}}""")
# As given with name=value, before Cookiecutter rendered them.
GIVEN: dict[str, Any] = json.loads(r"""{{= _cookiecutter | default({}) | tojson =}}""")


def main() -> None:
    """Refuse, or make the link usable."""
    if errors := find_errors():
        print(refusal(errors), file=sys.stderr)
        sys.exit(1)
    if repository := find_repository():
        replace_broken_link(repository)


def find_errors() -> dict[str, str]:
    """Return what Copier's validators would say, by question."""
    errors = {name: text for name, text in ANSWERS["__errors"].items() if text}
    for name, given in GIVEN.items():
        # Cookiecutter renders what is given by name=value; Copier sees the markers and refuses.
        rendered = isinstance(given, str) and any(mark in given for mark in ("{{", "{%", "{#"))
        if rendered and given != ANSWERS["_computed_defaults"].get(name):
            errors[name] = ANSWERS["_messages"][name]
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
