"""The pages of docs/ that are made from the code: `make docs`; a test says when one is stale."""

import json
import re
import sys
from pathlib import Path

from pydantic import SecretStr

from . import slo
from .contract import FEATURES, LABEL, LABELLED, Column, example_row
from .errors import UserError
from .schema import Features
from .settings import PREFIX, Settings

NOTE = "<!-- Written by `make docs`; edit the code instead. -->"
SIZING = Path("docs/sizing.md")
CLIENTS = Path("docs/clients.md")
NUMBERS = "<!-- From slo.yaml, by `make docs`. -->\n"
END = "<!-- Until here. -->\n"


def data_contract() -> str:
    """Return docs/data-contract.md."""
    label = [column for column in LABELLED if column.name == LABEL]
    return "\n".join(
        [
            NOTE,
            "# Data contract",
            "",
            f"{Features.__doc__} Declared in `src/model_service/schema.py`.",
            "",
            "The service refuses a request with a row that breaks this contract, and names row and",
            "field; `make data` puts such a row into [quarantine](data.md) with the reason.",
            "",
            *_table("feature", FEATURES),
            "",
            "The label, known later:",
            "",
            *_table("label", label),
            "",
        ]
    )


def settings() -> str:
    """Return docs/settings.md."""
    rows = [
        f"| `{PREFIX}{name.upper()}` | {_default(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(
        [
            NOTE,
            "# Settings",
            "",
            "Read from the environment when the service starts.",
            "",
            "| variable | default | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def sizing() -> str:
    """Return docs/sizing.md with the numbers of slo.yaml; the rest of it is written by hand.

    Raises:
        SloError: slo.yaml is missing or wrong.
    """
    stated = slo.read()
    rows = [
        f"| `{name}` | {value:g} | {type(section).model_fields[name].description} |\n"
        for section in (stated.traffic, stated.objectives, stated.budget)
        for name, value in section
    ]
    table = "".join(["| in slo.yaml | stated | meaning |\n", "|---|---|---|\n", *rows])
    return fill(SIZING.read_text(encoding="utf-8"), NUMBERS, table)


def fill(page: str, begin: str, text: str) -> str:
    """Return a page with another text between a line and the next `END`."""
    before, _, rest = page.partition(begin)
    return f"{before}{begin}{text}{END}{rest.partition(END)[2]}"


def clients() -> str:
    """Return docs/clients.md with the example row in its snippets; the rest is written by hand."""
    row = json.dumps(example_row(), ensure_ascii=False)
    items = [f'    "{name}": {_literal(value)},\n' for name, value in example_row().items()]
    in_python = f"row = {{\n{''.join(items)}}}"
    page = CLIENTS.read_text(encoding="utf-8")
    page = re.sub(r"^row = {.*?}$", lambda _: in_python, page, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r'^{".*}$', lambda _: row, page, flags=re.MULTILINE)


PAGES = {
    Path("docs/data-contract.md"): data_contract,
    Path("docs/settings.md"): settings,
    SIZING: sizing,
    CLIENTS: clients,
}


def main() -> int:
    """Write all pages; return the exit code."""
    try:
        pages = {path: page() for path, page in PAGES.items()}
    except UserError as error:
        print(f"No page was written. {error}", file=sys.stderr)
        return 1
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
    return 0


def _table(title: str, described: list[Column]) -> list[str]:
    rows = [
        f"| `{column.name}` | {column.type} | {_allowed(column)} "
        f"| {'yes' if column.nullable else 'no'} | {column.description}{_note(column)} |"
        for column in described
    ]
    return [
        f"| {title} | type | values | may be missing | meaning |",
        "|---|---|---|---|---|",
        *rows,
    ]


def _note(column: Column) -> str:
    return " [Personal](data.md#personal-values)." if column.personal else ""


def _literal(value: object) -> str:
    """Return a value in Python, as the formatter writes it."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _default(value: object) -> str:
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return "none" if text in {"", "{}"} else f"`{text}`"


def _allowed(column: Column) -> str:
    """Return what values are possible, in words."""
    if column.choices:
        return ", ".join(f"`{choice}`" for choice in column.choices)
    if column.pattern:
        return f"`{column.pattern}`".replace("|", "\\|")
    bounds = {
        "from": column.minimum,
        "above": column.above,
        "to": column.maximum,
        "below": column.below,
    }
    return " ".join(f"{word} {value:g}" for word, value in bounds.items() if value is not None)


if __name__ == "__main__":
    sys.exit(main())
