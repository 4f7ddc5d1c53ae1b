"""What must hold for the template's source and for every project made from it.

Each check returns a list of problems, so that a test can also break something and see it found.
"""

import ast
import json
import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from binaryornot.check import is_binary
from ruff import find_ruff_bin

from ml_chassis import PUBLIC, slo
from ml_chassis.monitoring import files
from ml_chassis.project import read

ROOT = Path(__file__).resolve().parents[2]
SYNTAX = re.compile(r"\{\{=|=\}\}|# \{[%#]|cookiecutter\.[a-z_]|example-service")
NOT_ON_WINDOWS = re.compile(
    r'[<>:"|?*\\]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE
)
# Free text goes into files only escaped; these are the kinds of file that an escape exists for.
FREE_TEXT = re.compile(r"cookiecutter\.(?:__)?(?:project_name|name|description)(\w*)")
ESCAPES = {"_q": {".toml", ".yml", ".yaml", ".json"}, "_md": {".md"}}


def texts(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and content of every text file."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not name.startswith(".git/"):
            try:
                yield name, path.read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                continue


# ---- the source ---------------------------------------------------------------------------


def python_with_template_syntax(source: Path) -> list[str]:
    """Python in the template is plain Python."""
    python = ((name, text) for name, text in texts(source) if name.endswith((".py", ".ipynb")))
    return [f"{name}: template syntax in Python" for name, text in python if SYNTAX.search(text)]


def names_with_template_syntax(source: Path) -> list[str]:
    """No path depends on an answer."""
    return [f"{path}: template syntax in a name" for path in source.rglob("*") if "{" in path.name]


def unescaped_text(source: Path) -> list[str]:
    """Names and descriptions are written only escaped for the file that they stand in."""
    problems = []
    for name, text in texts(source):
        for found in FREE_TEXT.finditer(text):
            if Path(name).suffix not in ESCAPES.get(found[1], set()):
                problems.append(f"{name}: {found[0]} is not escaped for this kind of file")
    return problems


def read_differently(source: Path) -> list[str]:
    """Cookiecutter and Copier agree on which files are text, and so rendered."""
    text_names = {name for name, _ in texts(source)}
    problems = []
    for path in source.rglob("*"):
        name = path.relative_to(source).as_posix()
        if path.is_file() and is_binary(str(path)) == (name in text_names):
            problems.append(f"{name}: text for one engine, binary for the other")
    return problems


def private_imports(source: Path) -> list[str]:
    """What is a team's, and what the pages show, imports the public API of the library alone."""
    problems = []
    for name, text in texts(source):
        if name.startswith(("chassis/src/", "data/")):
            continue
        for module, imported in imports_of_library(python_of(name, text)):
            if imported not in PUBLIC.get(module, ()):
                problems.append(f"{name}: ml_chassis.{module} has no public {imported}")
    return problems


def python_of(name: str, text: str) -> Iterator[str]:
    """Yield the pieces of Python in a file: itself, the cells of a notebook, blocks of a page."""
    if name.endswith(".py"):
        yield text
    elif name.endswith(".ipynb"):
        cells = (each for each in json.loads(text)["cells"] if each["cell_type"] == "code")
        yield "\n".join("".join(each["source"]) for each in cells)
    elif name.endswith(".md"):
        yield from re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def imports_of_library(pieces: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the modules of the library and the names of them that Python uses."""
    for tree in map(ast.parse, pieces):
        modules = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ml_chassis"):
                within = str(node.module).removeprefix("ml_chassis").lstrip(".")
                for each in node.names:
                    if (whole := f"{within}.{each.name}".lstrip(".")) in PUBLIC:
                        modules[each.asname or each.name] = whole
                    else:
                        yield within, each.name
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module = modules.get(node.value.id)
                yield from [(module, node.attr)] if module else []


# ---- projects -----------------------------------------------------------------------------


def unwritten_rules(project: Path) -> list[str]:
    """`make rules` changes nothing in a project that nobody has changed."""
    written = files.files(slo.read(project / slo.SLO), read(project).name, project)
    return [
        f"{path}: `make rules` writes it otherwise"
        for path, text in written.items()
        if (project / path).read_text(encoding="utf-8") != text
    ]


def leftover_syntax(project: Path) -> list[str]:
    """Nothing of the template's own syntax is left."""
    return [
        f"{name}: {found[0]}" for name, text in texts(project) for found in SYNTAX.finditer(text)
    ]


def identity_of_ours(project: Path, *ours: str) -> list[str]:
    """Nothing names the template, its authors or their machines, but the address for updates."""
    words = ["ml-service-template", *ours]
    problems = []
    for name, text in texts(project):
        lines = text.splitlines()
        if name == ".copier-answers.yml":
            lines = [line for line in lines if not line.startswith("_src_path:")]
        problems += [f"{name}: {word}" for word in words for line in lines if word in line]
    return problems


def unportable_names(project: Path) -> list[str]:
    """Every name can exist on every system, beside every other."""
    seen: dict[str, str] = {}
    problems = []
    for path in sorted(project.rglob("*")):
        name = path.relative_to(project).as_posix()
        if NOT_ON_WINDOWS.search(path.name) or not path.name.isascii():
            problems.append(f"{name}: not a name on every system")
        if (other := seen.setdefault(name.lower(), name)) != name:
            problems.append(f"{name}: the same as {other} where case does not matter")
    return problems


def empty_folders(project: Path) -> list[str]:
    """No folder is empty: git would not keep it."""
    folders = (path for path in project.rglob("*") if path.is_dir())
    return [f"{path}: empty" for path in folders if not any(path.iterdir())]


def wrong_modes(project: Path) -> list[str]:
    """Scripts, and nothing else, can be executed."""
    problems = []
    for path in project.rglob("*"):
        if path.is_file():
            is_script = path.read_bytes().startswith(b"#!")
            if is_script != bool(path.stat().st_mode & 0o100):
                problems.append(
                    f"{path.relative_to(project)}: executable without #!, or the reverse"
                )
    return problems


def unreadable_data(project: Path) -> list[str]:
    """Every YAML, JSON and TOML file parses, and versions in YAML are text."""
    problems = []
    for name, text in texts(project):
        try:
            for key, value in pairs(parse(name, text)):
                if isinstance(value, float) and re.search("version|python", key):
                    problems.append(f"{name}: {key} is the number {value}; quote it")
        except (ValueError, yaml.YAMLError) as error:
            problems.append(f"{name}: {error}")
    return problems


def parse(name: str, text: str) -> Any:
    """Return the data in a file, None for other kinds of file."""
    match Path(name).suffix:
        case ".yml" | ".yaml":
            return list(yaml.safe_load_all(text))
        case ".json" | ".ipynb":
            return json.loads(text)
        case ".toml":
            return tomllib.loads(text)
    return None


def pairs(data: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every scalar with the key that it is under, at any depth."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield from pairs(value, str(name))
    elif isinstance(data, list):
        for value in data:
            yield from pairs(value, key)
    else:
        yield key, data


def untrue_readme(folder: Path, *others: Path) -> list[str]:
    """The README names every documented task of the Makefile, and no task that is nowhere."""
    makefile = (folder / "Makefile").read_text(encoding="utf-8")
    readme = (folder / "README.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^([\w./-]+):(?!=)[^#\n]*## ", makefile, re.MULTILINE))
    targets = tasks(makefile).union(*(tasks(path.read_text(encoding="utf-8")) for path in others))
    code = " ".join(re.findall(r"```.*?```|`[^`\n]+`", readme, re.DOTALL))
    named = set(re.findall(r"\bmake ([a-z][\w-]*)", code))
    problems = [f"README.md names `make {name}`, which is no task" for name in named - targets]
    problems += [f"README.md does not name `make {name}`" for name in documented - named]
    return sorted(problems)


def dead_links(project: Path) -> list[str]:
    """Every link between files leads to one that is there, and to a heading in it."""
    pages = sorted(project.rglob("*.md"))
    return [problem for page in pages for problem in dead_links_of(page, project)]


def dead_links_of(page: Path, root: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    problems = []
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            problems.append(f"{page.relative_to(root)}: {link} leads nowhere")
    return problems


def anchors(page: Path) -> set[str]:
    """Return the names of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def untrue_score(source: Path) -> list[str]:
    """The page on the ML Test Score has 28 rows, with a test in each, and names what is there."""
    page = (source / "chassis" / "docs" / "ml-test-score.md").read_text(encoding="utf-8")
    known = tasks((source / "Makefile").read_text(encoding="utf-8"))
    problems = [
        f"there is no `make {name}`"
        for name in re.findall(r"`make ([a-z]+)", page)
        if name not in known
    ]
    for name, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page):
        path = ROOT / name
        code = path.read_text(encoding="utf-8") if path.is_file() else ""
        collected = path.name.startswith("test_") and test.startswith("test_")
        if not (collected and re.search(rf"^def {test}\(", code, re.MULTILINE)):
            problems.append(f"there is no {name}::{test}")
    rows = re.findall(r"^\| \d\. .*", page, re.MULTILINE)
    if len(rows) != 28:
        problems.append(f"{len(rows)} rows")
    return problems + [
        f"no test in: {row}" for row in rows if "::" not in row and "| not yet" not in row
    ]


def tasks(makefile: str) -> set[str]:
    """Return the targets of a Makefile."""
    return set(re.findall(r"^([\w./-]+):(?!=)", makefile, re.MULTILINE))


def ruff_problems(folder: Path) -> list[str]:
    """Python is clean to ruff, and formatted, by the project's own configuration."""
    problems = []
    for command in (["check", "--no-fix", "--output-format=concise"], ["format", "--check"]):
        run = subprocess.run(
            [find_ruff_bin(), *command, "--no-cache", "."],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            problems += (run.stdout + run.stderr).splitlines()
    return problems
