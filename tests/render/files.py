"""The files that each answer brings, written down in files.txt for people to read and review.

python tests/render/files.py    writes files.txt again
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from render.engines import CHOICES, Answers, by_cookiecutter, copy_template

LIST = Path(__file__).with_name("files.txt")
LIBRARY = "chassis/"


def expected(answers: Answers) -> set[str]:
    """Return the files that a project with these answers has, as written down."""
    files = set()
    for line in LIST.read_text(encoding="utf-8").splitlines():
        name, *conditions = line.split()
        wanted = (condition.partition("=") for condition in conditions)
        if all(answers[question] in values.split(",") for question, _, values in wanted):
            files.add(name)
    return files


def files_in(project: Path) -> set[str]:
    """Return the names of the files in a project; the library is one, `chassis/`."""
    names = (p.relative_to(project) for p in project.rglob("*") if p.is_file())
    return {LIBRARY if name.parts[0] in LIBRARY else name.as_posix() for name in names}


def current_lines() -> list[str]:
    """Generate with each choice in turn, and return each file with the choices that bring it."""
    with tempfile.TemporaryDirectory() as folder:
        template = copy_template(Path(folder, "template"))
        brought = {
            (question, choice): files_in(
                by_cookiecutter(template, Path(folder, question, choice), **{question: choice})
            )
            for question, choices in CHOICES.items()
            for choice in choices
        }
    lines = []
    for name in sorted(set().union(*brought.values())):
        conditions = []
        for question, choices in CHOICES.items():
            bringing = [choice for choice in choices if name in brought[question, choice]]
            if bringing and bringing != choices:
                conditions.append(f"{question}={','.join(bringing)}")
        lines.append("  ".join([name, *conditions]))
    return lines


if __name__ == "__main__":
    LIST.write_text("\n".join(current_lines()) + "\n", encoding="utf-8")
