"""An answer is refused by both engines for one reason, or arrives unchanged in every format."""

import ast
import json
import os
import pty
import select
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

import derive
from render.engines import ENGINES, ROOT, differences

CONFIG = derive.read_config(ROOT)
MESSAGES = {
    name: derive.message(question["validator"])
    for name, question in derive.questions_of(CONFIG).items()
    if "validator" in question
}

# Text that stands for what people type and what attackers try.
ACCEPTED_TEXT = {
    "quotes": """it's "so" 'nice'""",
    "triple quotes": '""" + x + """',
    "backslashes": r"\ \\ C:\new\table \"",
    "last backslash": "x\\",
    "GitHub expression, broken": "${ { secrets.X } }",
    "end of our delimiters": "=}} %} #}",
    "shell": "$(id) `id` ${HOME} $HOME; rm -rf / && exit",
    "emoji": "🚀 late 👩 flights",
    "combining": "Zoe\u0308 e\u0301",
    "right to left": "טיסות مرحبا",
    "Chinese": "航班延误",
    "YAML": "- a: b # c",
    "YAML yes": "yes",
    "YAML null": "null",
    "YAML number": "3.10",
    "YAML at": "@at",
    "YAML percent": "%TAG",
    "YAML document": "---",
    "YAML anchor": "&a *b !c |",
    "HTML": "<b>x</b> &amp; <!-- y -->",
    "table": "a | b || c",
    "link": "![i](j) [x](y) [z]: w <http://a.b>",
    "emphasis": "*a* **b** _c_ __d__ ~~e~~ $f$",
    "heading": "# a # b #",
    "list": "1. a",
    "list with bracket": "1) a",
    "underline": "===",
    "plus": "+ a",
    "one character": "x",
    "path": "../x a/b",
    "script": "<script>alert('x')</script>",
}
REFUSED_TEXT = {
    "newline": "a\nb",
    "tab": "a\tb",
    "NUL": "a\0b",
    "escape": "a\x1b[31mb",
    "line separator": "a\u2028b",
    "right-to-left override": "a\u202eb",
    "Jinja": "{{ 7 * 7 }}",
    "GitHub expression": "${{ secrets.X }}",
    "Jinja block": "{% if x %}",
    "Jinja comment": "{# x #}",
    "our delimiters, valid": "{{= 7 * 7 =}}",
    "our comment": "# {# x #}y",
    "nothing": "",
    "spaces": "   ",
    "space in front": " x",
    "space behind": "x ",
    "201 characters": "x" * 201,
}
REFUSED = {
    **{("project_name", text): text for text in ("a\nb", "{{ 7 * 7 }}", "{{= 7 * 7 =}}", "", " x")},
    **{("description", text): id_ for id_, text in REFUSED_TEXT.items()},
    ("project_name", "x" * 61): "61 characters",
    **{
        ("project_slug", slug): slug or "nothing"
        for slug in (
            *("", "../x", "a/b", "C:\\x", "..", ".", "A", "aB", "1a", "-x", "x-", "x--y", "x_y"),
            *("con", "nul", "com1", "lpt9", "test", "model-service", "é", "x" * 41, "x y", "x\n"),
        )
    },
    **{("team", team): team for team in ("", "A", "a_b", "-a", "a-", "a--b", "@a", "a" * 40)},
    **{("owner", owner): owner for owner in ("", "a_b", "-a", "a-", "a--b", "a/b", "a" * 40)},
    **{
        ("registry", registry): registry
        for registry in (
            *("", "ghcr.io", "ghcr.io/", "ghcr.io/A", "https://ghcr.io/a", "ghcr.io//a", "org/a"),
            *(
                "host:/a",
                "host:x/a",
                "host:65536/a",
                "host:0/a",
                "ghcr.io/a:1",
                "ghcr.io/../a",
                "ghcr.io/-a",
                "a b.io/c",
            ),
        )
    },
}
ACCEPTED = [
    {"project_slug": "a", "team": "a", "owner": "A", "registry": "ghcr.io/a"},
    {"project_slug": "x" * 40, "team": "1", "owner": "Org-1", "registry": "localhost/a"},
    {
        "project_slug": "a1-b2-c3",
        "team": "a-b-c",
        "owner": "a" * 39,
        "registry": "r.io:5000/a-b/c.d",
    },
    {"project_slug": "console", "team": "a" * 39, "registry": "localhost:5000/a/b_c"},
]
PROBES = {
    "probe.toml": 'name = "{{= cookiecutter.__name_q =}}"\n'
    'description = "{{= cookiecutter.__description_q =}}"\n',
    "probe.yaml": 'name: "{{= cookiecutter.__name_q =}}"\n'
    'description: "{{= cookiecutter.__description_q =}}"\n',
    "probe.json": '{"name": "{{= cookiecutter.__name_q =}}",\n'
    '"description": "{{= cookiecutter.__description_q =}}"}\n',
    "probe.txt": '{"name": "{{= cookiecutter.__name_q =}}",\n'
    '"description": "{{= cookiecutter.__description_q =}}"}\n',
    "probe.md": "# {{= cookiecutter.__name_md =}}\n\n{{= cookiecutter.__description_md =}}\n",
}


def markdown(text: str) -> dict[str, str]:
    """Return the heading and the paragraph that a reader sees, if they are nothing but text."""
    tokens = MarkdownIt().enable(["table", "strikethrough"]).parse(text)
    inline = [token for token in tokens if token.type == "inline"]
    assert [token.tag for token in tokens if token.nesting == 1] == ["h1", "p"]
    seen = [child for token in inline for child in token.children or []]
    assert {child.type for child in seen} <= {"text", "text_special"}
    return dict(zip(("name", "description"), map(plain, inline), strict=True))


def plain(inline: Token) -> str:
    return "".join(child.content for child in inline.children or [])


READERS: dict[str, Callable[[str], dict[str, str]]] = {
    "probe.toml": tomllib.loads,
    "probe.yaml": yaml.safe_load,
    "probe.json": json.loads,
    "probe.txt": ast.literal_eval,
    "probe.md": markdown,
}


@pytest.fixture(scope="session")
def small(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a template with our questions and hooks that writes only probes: fast."""
    folder = tmp_path_factory.mktemp("small")
    tree = folder / "template"
    tree.mkdir()
    for name in ("copier.yml", "cookiecutter.json", "hooks", ".{{=cookiecutter.__dir=}}"):
        subprocess.run(["cp", "-a", str(template / name), str(folder)], check=True)
    answers = (template / "template/.copier-answers.yml").read_bytes()
    (tree / ".copier-answers.yml").write_bytes(answers)
    for name, text in PROBES.items():
        (tree / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("text", ACCEPTED_TEXT.values(), ids=ACCEPTED_TEXT)
def test_text_arrives_unchanged_in_every_format(small: Path, tmp_path: Path, text: str) -> None:
    given = {"project_name": text, "description": text, "project_slug": "p"}
    one, other = (run(small, tmp_path / name, **given) for name, run in ENGINES.items())
    assert differences(one, other) == []
    for name, read in READERS.items():
        found = read((one / name).read_text(encoding="utf-8"))
        assert found == {"name": text, "description": text}, name
    stored = yaml.safe_load((one / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert {name: stored[name] for name in given} == given


def test_hostile_text_arrives_unchanged_in_the_real_project(template: Path, tmp_path: Path) -> None:
    text = r"""- "a": \b | <i> [x](y) `$(id)` # 'c' 🚀 =}}"""
    given = {"project_name": text, "description": text, "project_slug": "p"}
    one, other = (run(template, tmp_path / name, **given) for name, run in ENGINES.items())
    assert differences(one, other) == []
    project = tomllib.loads((one / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["description"] == text
    readme = MarkdownIt().enable("table").parse((one / "README.md").read_text(encoding="utf-8"))
    assert plain(next(token for token in readme if token.type == "inline")) == text


@pytest.mark.parametrize("answers", ACCEPTED, ids=lambda answers: answers["project_slug"])
def test_answers_are_accepted(small: Path, tmp_path: Path, answers: dict[str, str]) -> None:
    projects = [run(small, tmp_path / name, **answers) for name, run in ENGINES.items()]
    assert differences(*projects) == []
    stored = yaml.safe_load((projects[0] / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert {name: stored[name] for name in answers} == answers


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("question", "answer"), REFUSED, ids=repr)
def test_answer_is_refused(
    small: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    engine: str,
    question: str,
    answer: str,
) -> None:
    with pytest.raises(Exception, match=r"Validation error|Hook script failed") as refusal:
        ENGINES[engine](small, tmp_path, **{question: answer})
    told = capfd.readouterr().err + str(refusal.value)
    assert question in told
    assert MESSAGES[question] in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("text", ["{{=", "# {% if %}", "{{= nothing =}}"])
def test_broken_template_syntax_is_refused(
    small: Path, tmp_path: Path, engine: str, text: str
) -> None:
    """Cookiecutter renders such an answer itself, so the words are its own."""
    with pytest.raises(Exception, match=r"."):
        ENGINES[engine](small, tmp_path, description=text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("question", ["python_version", "license", "model_family", "platform"])
def test_unknown_choice_is_refused(small: Path, tmp_path: Path, engine: str, question: str) -> None:
    with pytest.raises(ValueError, match=f"{question}.* "):
        ENGINES[engine](small, tmp_path, **{question: "something else"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["航班延误", "🚀", "42"])
def test_name_that_gives_no_slug_asks_for_one(
    small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], engine: str, name: str
) -> None:
    with pytest.raises(Exception, match=r"Give a-z, 0-9|Hook script failed") as refusal:
        ENGINES[engine](small, tmp_path, project_name=name)
    assert MESSAGES["project_slug"] in capfd.readouterr().err + str(refusal.value)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Flight Delays", "flight-delays"),
        ("Fraud & Risk_v2", "fraud-risk-v2"),
        ("Zoë's Model", "zos-model"),
        ("2024 Sales", "sales"),
        ("Test", "test-app"),
        ("Model", "model-app"),
        ("x" * 60, "x" * 40),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_slug_comes_from_the_name(
    small: Path, tmp_path: Path, engine: str, name: str, slug: str
) -> None:
    project = ENGINES[engine](small, tmp_path, project_name=name)
    stored = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert stored["project_slug"] == slug


def test_cookiecutter_says_how_to_be_asked_again(small: Path, tmp_path: Path) -> None:
    """It does not ask again by itself, so the refusal has the command that keeps the rest."""
    typed = "\n".join(["Bird Strikes", "bad slug!", *[""] * 9, ""])
    run = subprocess.run(
        [sys.executable, "-m", "cookiecutter", str(small), "-o", str(tmp_path)],
        input=typed, env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert f"project_slug: {MESSAGES['project_slug']}" in run.stderr
    assert "'project_name=Bird Strikes'" in run.stderr
    assert "bad slug!" not in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_copier_asks_again(small: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "copier", "copy", str(small), str(tmp_path / "project")]
    screen = Screen(command)
    screen.answer("Name of the service", "航班")
    screen.answer("Name for machines", "Bad")
    screen.answer("Give a-z, 0-9", "\x15good")  # control-U empties the line
    screen.answer("What it does", "\x03")  # control-C
    assert screen.exit_code() == 1
    assert not (tmp_path / "project").exists()


class Screen:
    """A terminal with a command in it, read and typed on as a person would."""

    def __init__(self, command: list[str]) -> None:
        """Start the command."""
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.execv(command[0], command)
        self.seen = ""

    def answer(self, question: str, text: str) -> None:
        """Wait for a question, then type an answer."""
        deadline = time.monotonic() + 60
        while question not in self.seen:
            assert time.monotonic() < deadline, self.seen
            ready, _, _ = select.select([self.terminal], [], [], 1)
            if ready:
                self.seen += os.read(self.terminal, 65536).decode(errors="replace")
        self.seen = ""
        os.write(self.terminal, f"{text}\r".encode())

    def exit_code(self) -> int:
        """Return how the command ended."""
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
