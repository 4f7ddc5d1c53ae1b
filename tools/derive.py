"""Write what follows from copier.yml and from the code of the library.

From copier.yml follow cookiecutter.json and the options table of README.md, from the library its
pages on settings, metrics and public names and the table of objectives in that on sizing, and from
the objectives of the template its alerts.

python tools/derive.py            write both
python tools/derive.py --check    only say whether they differ (exit code 1)
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment

from ml_chassis import slo
from ml_chassis.monitoring.files import files
from ml_chassis.reference import library_pages

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- options -->", "<!-- /options -->"
# The last question of copier.yml gives Copier the namespace that Cookiecutter has by itself.
NAMESPACE = "cookiecutter"

Config = dict[str, Any]
Translate = Callable[[str], str]


def read_config(root: Path) -> Config:
    """Return the parsed copier.yml."""
    config: Config = yaml.safe_load((root / "copier.yml").read_text(encoding="utf-8"))
    return config


def cookiecutter_json(config: Config) -> str:
    """Return the text of cookiecutter.json."""
    questions = questions_of(config)
    translate = translator(config, questions)
    asked = {name: q for name, q in questions.items() if not is_computed(q)}
    validated = {name: q["validator"] for name, q in asked.items() if "validator" in q}
    conditional, leftovers = split_patterns(config["_exclude"])
    context = {
        "_comment": "Written by tools/derive.py from copier.yml: edit that file.",
        "_jinja2_env_vars": config["_envops"],
        "_new_lines": "\n",
        "_copy_without_render": [glob for pattern in leftovers for glob in globs(pattern)],
        "_leftovers": leftovers,
        "_messages": {name: message(text) for name, text in validated.items()},
        "_computed_defaults": {
            name: translate(q["default"]) for name, q in asked.items() if "{{=" in q["default"]
        },
        **{key(name, q): value(q, translate) for name, q in questions.items()},
        # A replay keeps what was computed: where this differs from the answers, they were edited.
        "__answers": "{{= ["
        + ", ".join(f"cookiecutter.{name}" for name in sorted(asked))
        + "] | join('\n') =}}",
        "__errors": {name: translate(text) for name, text in validated.items()},
        "__next": translate(config["_message_after_copy"]),
        "__unchosen": [translate(pattern) for pattern in conditional],
        # The link to template/ is called ".{{=cookiecutter.__dir=}}", so this makes "./<slug>",
        # and never a path that a refused answer could point elsewhere.
        "__dir": "/{{= '.refused' if cookiecutter.__errors.values() | join"
        " else cookiecutter.project_slug =}}",
        "__prompts__": {name: prompt(q) for name, q in asked.items()},
    }
    return json.dumps(context, indent=2, ensure_ascii=False) + "\n"


def questions_of(config: Config) -> dict[str, Config]:
    """Return the questions, computed ones included, in their order."""
    return {
        name: value
        for name, value in config.items()
        if not name.startswith("_") and name != NAMESPACE
    }


def is_computed(question: Config) -> bool:
    """Tell whether nobody is asked."""
    return question.get("when") is False


def key(name: str, question: Config) -> str:
    """Return the name in cookiecutter.json, where two underscores mean computed."""
    return f"__{name}" if is_computed(question) else name


def value(question: Config, translate: Translate) -> Any:
    """Return the value in cookiecutter.json: a default, or all choices with the default first."""
    default = question["default"]
    if "choices" in question:
        return sorted(choices(question), key=lambda choice: choice != default)
    return translate(default) if isinstance(default, str) else default


def choices(question: Config) -> dict[str, str]:
    """Return each choice with its label."""
    given = question.get("choices", {})
    pairs = given.items() if isinstance(given, dict) else zip(given, given, strict=True)
    return {choice: label for label, choice in pairs}


def prompt(question: Config) -> str | dict[str, str]:
    """Return what Cookiecutter shows."""
    if "choices" in question:
        return {"__prompt__": question["help"], **choices(question)}
    return str(question["help"])


def message(validator: str) -> str:
    """Return the refusal that a validator of the form {{= '' if ... else 'refusal' =}} holds."""
    found = re.search(r"else '([^']+)' =}}$", validator)
    if not found:
        raise SystemExit(f"copier.yml: a validator must end in else '...' =}}}}: {validator}")
    return found[1]


def split_patterns(patterns: list[str]) -> tuple[list[str], list[str]]:
    """Separate the patterns that depend on an answer from those that always hold."""
    conditional = [pattern for pattern in patterns if "{{=" in pattern]
    return conditional, [pattern for pattern in patterns if "{{=" not in pattern]


def globs(pattern: str) -> list[str]:
    """Return a .gitignore pattern as Cookiecutter's globs over whole paths."""
    return [pattern[1:]] if pattern.startswith("/") else [pattern, f"*/{pattern}"]


def translator(config: Config, questions: dict[str, Config]) -> Translate:
    """Return a function that turns a question's bare name into cookiecutter.<name>."""
    environment = Environment(autoescape=False, **config["_envops"])  # noqa: S701 - only lexes
    names = {name: key(name, question) for name, question in questions.items()}

    def translate(text: str) -> str:
        tokens = [(kind, token) for _, kind, token in environment.lex(text)]
        solid = [i for i, (kind, _) in enumerate(tokens) if kind != "whitespace"]
        written = [token for _, token in tokens]
        for before, i in zip([None, *solid], solid, strict=False):
            kind, token = tokens[i]
            attribute = before is not None and tokens[before][1] in {".", "|"}
            if kind == "name" and token in names and not attribute:
                written[i] = f"cookiecutter.{names[token]}"
        return "".join(written)

    return translate


def options_table(config: Config) -> str:
    """Return the Markdown table of the questions."""
    rows = ["| Option | Default | What it is |", "| --- | --- | --- |"]
    for name, question in questions_of(config).items():
        if is_computed(question):
            continue
        text = question["help"]
        if "choices" in question:
            text += ": " + ", ".join(f"`{choice}`" for choice in choices(question))
        rows.append(f"| `{name}` | {default_in_words(name, question['default'])} | {text} |")
    return "\n".join(rows)


def default_in_words(name: str, default: str) -> str:
    """Return a default as the table shows it."""
    computed = {"project_slug": "from `project_name`", "registry": "`ghcr.io/` and `owner`"}
    if "{{=" in default:
        return computed[name]
    return f"`{default}`"


def with_table(readme: str, table: str) -> str:
    """Return the README with the table between its markers."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise SystemExit(f"README.md must have the lines {START} and {END} for the options table.")
    return f"{before}{START}\n{table}\n{END}{after}"


def derived(root: Path) -> dict[Path, str]:
    """Return each derived file with the text that it must have."""
    config = read_config(root)
    readme = root / "README.md"
    if not readme.exists():
        raise SystemExit("README.md is missing; it holds the options table.")
    table = with_table(readme.read_text(encoding="utf-8"), options_table(config))
    template, name = root / "template", "{{= cookiecutter.project_slug =}}"
    stated = slo.read(template / slo.SLO)
    pages = library_pages(template / "chassis" / "docs", stated)
    watching = files(stated, name, template)
    return {
        root / "cookiecutter.json": cookiecutter_json(config),
        readme: table,
        **pages,
        **{template / path: text for path, text in watching.items()},
    }


def outdated(root: Path) -> list[str]:
    """Return the names of the derived files that do not say what their sources say."""
    return [
        path.name
        for path, text in derived(root).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    if parser.parse_args().check:
        names = outdated(ROOT)
        for name in names:
            print(f"{name} does not follow from its source: run python tools/derive.py")
        return int(bool(names))
    for path, text in derived(ROOT).items():
        path.write_bytes(text.encode("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
