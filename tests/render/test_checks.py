"""Every check was seen to fail: one thing is broken in a copy, and the check says so."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import derive
from render import checks
from render.engines import ENGINES, copy_template, differences

Render = Callable[..., Path]
Check = Callable[[Path], list[str]]


def append(name: str, text: str) -> Callable[[Path], None]:
    """Return what adds text to the end of a file, made if it is not there."""

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(text)

    return change


def put_bytes(name: str, data: bytes) -> Callable[[Path], None]:
    """Return what writes a file."""

    def change(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return change


SCORE, SLO = "chassis/docs/ml-test-score.md", "tests/chassis/test_slo.py"
WEB, PRIVATE = "src/model_service/web.py", "from ml_chassis.settings import Settings"

# Check, what is broken, and a word of the problem it must report.
BROKEN_SOURCE: list[tuple[Check, Callable[[Path], None], str]] = [
    (checks.python_with_template_syntax, append("src/a.py", "N = {{= cookiecutter.x =}}"), "a.py"),
    (checks.names_with_template_syntax, append("{{= x =}}.md", "x"), "template syntax in a name"),
    (checks.unescaped_text, append("a.toml", 'n = "{{= cookiecutter.project_name =}}"'), "a.toml"),
    (checks.unescaped_text, append("a.sh", "echo {{= cookiecutter.__name_q =}}"), "a.sh"),
    (checks.read_differently, put_bytes("a.csv", b"plain text\n" * 100 + b"\xff"), "a.csv"),
    (checks.ruff_problems, append("src/model_service/bad.py", "import os\n"), "F401"),
    (checks.private_imports, append(WEB, "from ml_chassis.batch.score import Model\n"), "Model"),
    (checks.private_imports, append(WEB, "from ml_chassis import project\nproject.X"), "X"),
    (checks.private_imports, append("a.md", f"\n```python\n{PRIVATE}\n```\n"), "Settings"),
    (checks.untrue_score, append(SCORE, "\n`make nothing`\n"), "make nothing"),
    (checks.untrue_score, append(SCORE, f"\n`{SLO}::test_nothing`\n"), "test_nothing"),
    (checks.untrue_score, append(SCORE, "\n| 8. new | a wish | |\n"), "a wish"),
]
BROKEN_PROJECT: list[tuple[Check, Callable[[Path], None], str]] = [
    (checks.leftover_syntax, append("README.md", "{{= cookiecutter.team =}}"), "README.md"),
    (checks.leftover_syntax, append("a.yml", "# {% if x %}"), "a.yml"),
    (checks.unwritten_rules, append("monitoring/rules.yaml", " "), "monitoring/rules.yaml"),
    (checks.identity_of_ours, append("README.md", "made by ml-service-template"), "README.md"),
    (checks.unportable_names, append("docs/aux.md", "x"), "docs/aux.md"),
    (checks.unportable_names, append("readme.MD", "x"), "case does not matter"),
    (checks.empty_folders, lambda folder: (folder / "empty").mkdir(), "empty"),
    (checks.wrong_modes, append("run.sh", "#!/bin/sh\n"), "run.sh"),
    (checks.unreadable_data, append("a.yml", "python-version: 3.13\n"), "python-version"),
    (checks.unreadable_data, append("a.yml", "strategy: {python: [3.10, 3.11]}\n"), "quote it"),
    (checks.unreadable_data, append("a.json", "{,}"), "a.json"),
    (checks.unreadable_data, append("pyproject.toml", "\n[["), "pyproject.toml"),
    (checks.untrue_readme, append("README.md", "\nRun `make nothing`.\n"), "make nothing"),
    (checks.untrue_readme, append("Makefile", "\nsecret: ## not in the README\n"), "make secret"),
    (checks.dead_links, append("README.md", "\n[a](docs/nothing.md)\n"), "docs/nothing.md"),
    (checks.dead_links, append("docs/a.md", "\n[a](../README.md#nothing)\n"), "#nothing"),
    (checks.ruff_problems, append("src/model_service/schema.py", "x=1\n"), "schema.py"),
]


def case(values: tuple[Check, Callable[[Path], None], str]) -> object:
    return pytest.param(*values, id=f"{values[0].__name__}-{values[2]}")


@pytest.mark.parametrize(("check", "break_it", "word"), [*map(case, BROKEN_SOURCE)])
def test_check_of_the_source_finds(
    template: Path, tmp_path: Path, check: Check, break_it: Callable[[Path], None], word: str
) -> None:
    source = tmp_path / "template"
    shutil.copytree(template / "template", source)
    break_it(source)
    assert word in "\n".join(check(source))


@pytest.mark.parametrize(("check", "break_it", "word"), [*map(case, BROKEN_PROJECT)])
def test_check_of_a_project_finds(
    render: Render, tmp_path: Path, check: Check, break_it: Callable[[Path], None], word: str
) -> None:
    project = tmp_path / "project"
    shutil.copytree(render("cookiecutter"), project)
    break_it(project)
    assert word in "\n".join(check(project))


def test_parity_finds_what_one_engine_renders_and_the_other_copies(tmp_path: Path) -> None:
    """Latin-1 with a late accent is text to Cookiecutter's guess and no UTF-8 to Copier."""
    source = copy_template(tmp_path / "source")
    late = b"team: {{= cookiecutter.team =}}\n" * 40 + b"caf\xe9\n"
    (source / "template/late.csv").write_bytes(late)
    with pytest.raises(UnicodeDecodeError):
        ENGINES["cookiecutter"](source, tmp_path / "cookiecutter")
    assert b"{{=" in (ENGINES["copier"](source, tmp_path) / "late.csv").read_bytes()


@pytest.mark.parametrize("change", ["content", "mode", "file", "folder"])
def test_parity_finds_a_difference(render: Render, tmp_path: Path, change: str) -> None:
    project = tmp_path / "project"
    shutil.copytree(render("cookiecutter"), project)
    changes: dict[str, Callable[[], object]] = {
        "content": lambda: (project / "Makefile").write_text("x"),
        "mode": lambda: (project / "Makefile").chmod(0o755),
        "file": lambda: (project / "x").write_text("x"),
        "folder": (project / "x").mkdir,
    }
    changes[change]()
    assert len(differences(render("cookiecutter"), project)) == 1


@pytest.mark.parametrize("name", ["cookiecutter.json", "README.md"])
def test_drift_of_a_derived_file_is_found(template: Path, tmp_path: Path, name: str) -> None:
    source = tmp_path / "source"
    shutil.copytree(template, source, symlinks=True)
    (source / "README.md").write_text(f"{derive.START}\n{derive.END}\n", encoding="utf-8")
    for path, text in derive.derived(source).items():
        path.write_text(text, encoding="utf-8")
    assert derive.outdated(source) == []
    changed = (source / name).read_text(encoding="utf-8").replace("ml-team", "other-team")
    (source / name).write_text(changed, encoding="utf-8")
    assert derive.outdated(source) == [name]


def test_a_readme_without_the_markers_is_refused() -> None:
    with pytest.raises(SystemExit, match="<!-- options -->"):
        derive.with_table("# Nothing here\n", "| table |")
