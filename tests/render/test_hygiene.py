"""Every project is clean, and so is the source it is made from."""

from collections.abc import Callable
from pathlib import Path

import pytest

import derive
from render import checks
from render.engines import EACH_COMBINATION, ROOT, Answers

Render = Callable[..., Path]
Check = Callable[[Path], list[str]]
SOURCE_CHECKS: list[Check] = [
    checks.python_with_template_syntax,
    checks.names_with_template_syntax,
    checks.unescaped_text,
    checks.read_differently,
    checks.wrong_modes,
    checks.ruff_problems,
    checks.private_imports,
    checks.untrue_score,
]
PROJECT_CHECKS: list[Check] = [
    checks.leftover_syntax,
    checks.unportable_names,
    checks.empty_folders,
    checks.wrong_modes,
    checks.unreadable_data,
    checks.untrue_readme,
    checks.dead_links,
    checks.unwritten_rules,
]
NAMES = {"1 character": "x", "60 characters": "Flights " * 7 + "late"}


def name_of(check: Check) -> str:
    return check.__name__


@pytest.mark.parametrize("check", SOURCE_CHECKS, ids=name_of)
def test_source(template: Path, check: Check) -> None:
    assert check(template / "template") == []


@pytest.mark.parametrize("answers", EACH_COMBINATION)
def test_project(render: Render, template: Path, answers: Answers) -> None:
    project = render("cookiecutter", **answers)
    assert [problem for check in PROJECT_CHECKS for problem in check(project)] == []
    assert checks.identity_of_ours(project, str(ROOT), str(template)) == []
    if answers["license"] == "Apache-2.0":  # the licence changes no Python
        assert checks.ruff_problems(project) == []


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_project_with_a_short_or_long_name(render: Render, name: str) -> None:
    project = render("cookiecutter", project_name=name)
    found = (checks.ruff_problems, checks.unreadable_data, checks.unwritten_rules)
    assert [problem for check in found for problem in check(project)] == []


def test_derived_files_follow_from_their_sources() -> None:
    assert derive.outdated(ROOT) == [], "run python tools/derive.py"


def test_links_of_our_own_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    assert [problem for page in pages for problem in checks.dead_links_of(page, ROOT)] == []


def test_every_computed_value_reaches_copier() -> None:
    config = derive.read_config(ROOT)
    computed = {n for n, q in derive.questions_of(config).items() if derive.is_computed(q)}
    for name in computed - {"reserved_slugs", "name_as_slug"}:
        assert f"__{name}={name}" in config["cookiecutter"]["default"]


def test_our_own_readme_and_makefile_agree() -> None:
    """It speaks of the generated project's tasks as well."""
    assert checks.untrue_readme(ROOT, ROOT / "template/Makefile") == []
