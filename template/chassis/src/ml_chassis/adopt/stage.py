"""Make the adopted project in a folder of its own, and exchange the files when all succeeded."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..data.lock import in_file
from ..project import Project
from ..settings import PREFIX
from . import AdoptError, pages, source
from .plan import Plan

README = Path("README.md")
STAGE, BEFORE = Path("build/adopt/stage"), Path("build/adopt/before")
COPIED = ("src", "docs", "training.toml", "slo.yaml", "pyproject.toml", "README.md")
"""What training, and the pages that are made from the code, need."""
PACKAGE = Path("src/model_service")
SOURCES = tuple(PACKAGE / name for name in ("schema.py", "raw.py", "features.py", "web.py"))
WEATHER = PACKAGE / "weather.py"
EXAMPLE = (
    WEATHER,
    *(Path("tests") / f"test_{name}.py" for name in ("features", "weather", "web")),
)
"""What only the example of the template needs."""
MADE = (Path("models"), Path("data/service.db"), Path("build/training/report.html"))
"""What training makes; it is exchanged as a whole."""
REPORTS = tuple(Path("build") / name for name in ("data", "load", "optimisation", "retraining"))
"""What tells of the table before."""

Change = tuple[Path, bool]
"""A path, and whether the stage has it."""


def adopt(project: Project, plan: Plan) -> None:
    """Write and train the project of a plan, then put it in the place of this one.

    Raises:
        AdoptError: something failed; then no file of this project was changed.
        BusyError: another adoption runs here.
    """
    STAGE.parent.mkdir(parents=True, exist_ok=True)
    with in_file(STAGE.parent / "lock", "adoption"):
        shutil.rmtree(STAGE, ignore_errors=True)
        prepare(plan)
        files = [str(path) for path in SOURCES]
        _run("ruff", "check", "--quiet", "--fix", "--select", "I", *files)
        _run("ruff", "format", "--quiet", *files)
        _run("ruff", "check", "--quiet", "--add-noqa", *files)  # names of columns may be long
        _run("ml_chassis.adopt.first")
        exchange(list(changes(project, plan)))
        shutil.rmtree(STAGE)


def prepare(plan: Plan) -> None:
    """Copy what is needed, and write what follows from the plan."""
    for name in COPIED:
        copy = shutil.copytree if Path(name).is_dir() else shutil.copy2
        STAGE.mkdir(parents=True, exist_ok=True)
        copy(name, STAGE / name)
    for path in _of_example():
        (STAGE / path).unlink(missing_ok=True)
    schema, raw, features, web = SOURCES
    texts = {
        schema: source.schema(plan, schema.read_text(encoding="utf-8")),
        raw: source.raw(plan),
        features: source.features(plan),
        **({web: source.WEB} if WEATHER.exists() or not web.exists() else {}),
        Path("data/README.md"): pages.data(plan),
        Path("docs/model-card.md"): pages.model_card(plan),
        README: _without_example(README.read_text(encoding="utf-8")),
    }
    for path, text in texts.items():
        (STAGE / path).parent.mkdir(parents=True, exist_ok=True)
        (STAGE / path).write_text(text, encoding="utf-8")
    data = STAGE / source.address(plan)
    data.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(plan.data, data)


def _without_example(readme: str) -> str:
    """Return the README without the lines about files that only the example needs."""
    names = [path.name for path in EXAMPLE]
    lines = readme.splitlines(keepends=True)
    return "".join(line for line in lines if not any(name in line for name in names))


def changes(project: Project, plan: Plan) -> Iterator[Change]:
    """Yield what is to be exchanged: files that differ, what training made, what is gone."""
    for path in sorted(STAGE.rglob("*")):
        name = path.relative_to(STAGE)
        made = any(name.is_relative_to(each) for each in (*MADE, Path("build")))
        if path.is_dir() or made or "__pycache__" in name.parts:
            continue
        if not name.exists() or name.read_bytes() != path.read_bytes():
            yield name, True
    yield from ((path, True) for path in MADE)
    given = {Path(source.address(plan)).absolute(), plan.data.absolute()}
    old = [
        path for table in project.tables if (path := Path(table.address)).absolute() not in given
    ]
    gone = (*_of_example(), *REPORTS, *old)
    yield from ((path, False) for path in gone if path.exists())


def _of_example() -> tuple[Path, ...]:
    """Return what only the example needs; later, files of these names are the team's own."""
    return EXAMPLE if WEATHER.exists() else ()


def exchange(changed: Iterable[Change]) -> None:
    """Move files to `BEFORE`, and those of the stage into their places.

    Raises:
        AdoptError: a file could not be moved; then all are back.
    """
    shutil.rmtree(BEFORE, ignore_errors=True)
    done: list[tuple[Path, Path]] = []
    try:
        for path, new in changed:
            if path.exists():
                _move(path, BEFORE / path, done)
            if new:
                _move(STAGE / path, path, done)
    except OSError as error:
        for start, end in reversed(done):
            end.rename(start)
        raise AdoptError(f"A file could not be moved: {error}") from None


def _move(start: Path, end: Path, done: list[tuple[Path, Path]]) -> None:
    end.parent.mkdir(parents=True, exist_ok=True)
    start.rename(end)
    done.append((start, end))


def _run(module: str, *arguments: str) -> None:
    """Run a module in the stage, with its code and settings and no others."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    git = Path(".git").absolute()
    if git.exists():  # so that the code that the model was trained with counts as changed
        own |= {"GIT_DIR": str(git), "GIT_WORK_TREE": str(STAGE.absolute())}
    environment = {
        **own,
        "PYTHONPATH": str((STAGE / "src").absolute()),
        "GIT_OPTIONAL_LOCKS": "0",
    }
    command = [sys.executable, "-m", module, *arguments]
    if subprocess.run(command, cwd=STAGE, env=environment, check=False).returncode:
        raise AdoptError(f"{module} failed, as is said above.")
