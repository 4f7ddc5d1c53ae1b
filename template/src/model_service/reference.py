"""The pages of docs/ that are made from the code: `make docs`; a test says when one is stale."""

import sys
from pathlib import Path

from .contract import FEATURES, LABEL, LABELLED, Column
from .schema import Features
from .settings import PREFIX, Settings

NOTE = "<!-- Written by `make docs`; edit the code instead. -->"


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
            "field; training puts such a row into quarantine with the reason.",
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
        f"| `{PREFIX}{name.upper()}` | `{field.default}` | {field.description} |"
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


PAGES = {Path("docs/data-contract.md"): data_contract, Path("docs/settings.md"): settings}


def main() -> int:
    """Write all pages; return the exit code."""
    for path, page in PAGES.items():
        path.write_text(page(), encoding="utf-8")
        print(f"wrote {path}")
    return 0


def _table(title: str, described: list[Column]) -> list[str]:
    rows = [
        f"| `{column.name}` | {column.type} | {_allowed(column)} "
        f"| {'yes' if column.nullable else 'no'} | {column.description} |"
        for column in described
    ]
    return [
        f"| {title} | type | values | may be missing | meaning |",
        "|---|---|---|---|---|",
        *rows,
    ]


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
