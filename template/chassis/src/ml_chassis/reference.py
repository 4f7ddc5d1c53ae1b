"""Pages that are made from code.

`chassis docs` writes those of a project. Those of the library, in chassis/docs, are written where
it is developed, and are the same in every project.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import SecretStr

from . import PUBLIC
from .contract import Column, Contract
from .errors import UserError
from .monitoring import metrics, panels
from .project import Project
from .reports.markdown import table
from .reports.page import write as write_page
from .settings import PREFIX, Settings
from .slo import Slo

NOTE = "<!-- Written by `make docs`; edit the code instead. -->"
DERIVED = "<!-- Derived from the code of the library. -->"
DATA_CONTRACT = Path("docs/data-contract.md")
EXAMPLE = Path("docs/example.json")
OBJECTIVES = "<!-- From slo.py. -->\n"
END = "<!-- Until here. -->\n"


def data_contract(project: Project) -> str:
    """Return docs/data-contract.md."""
    contract = project.contract
    return "\n".join(
        [
            NOTE,
            "# Data contract",
            "",
            f"{contract.schema.__doc__} Declared in `{project.path('schema')}`.",
            "",
            "The service refuses a request with a row that breaks this contract, and names row and",
            "field; `make data` puts such a row into quarantine with the reason.",
            "[example.json](example.json) is a valid request.",
            "",
            *_table("feature", contract.features),
            "",
            "The label, known later:",
            "",
            *_table("label", [contract.label_column]),
            "",
        ]
    )


def example(contract: Contract) -> str:
    """Return docs/example.json, a request for the prediction of the example row."""
    rows = [contract.example_row()]
    return json.dumps({"rows": rows}, indent=2, ensure_ascii=False) + "\n"


def pages(project: Project) -> dict[Path, str]:
    """Return the pages of a project that are made from its code, by their paths in it.

    Raises:
        ProjectError: the schema is missing or cannot be used.
    """
    return {DATA_CONTRACT: data_contract(project), EXAMPLE: example(project.contract)}


def library_pages(folder: Path, slo: Slo) -> dict[Path, str]:
    """Return the pages of the library that follow from its code.

    Args:
        folder: chassis/docs.
        slo: The objectives of the example.
    """
    sizing = folder / "sizing.md"
    text = fill(sizing.read_text(encoding="utf-8"), OBJECTIVES, _objectives())
    made = {
        "settings.md": settings(),
        "api.md": api(),
        "metrics.md": exported_metrics(),
        "dashboards.md": dashboards(slo),
    }
    return {sizing: text, **{folder / name: page for name, page in made.items()}}


def settings() -> str:
    """Return the page on the settings."""
    rows = [
        (f"`{PREFIX}{name.upper()}`", _default(field.default), str(field.description))
        for name, field in Settings.model_fields.items()
    ]
    return _derived(
        "Settings",
        "Environment variables, read when a command starts. An unknown one that begins with\n"
        f"`{PREFIX}` ends it with a message, and so does a value that cannot be used.",
        table(("variable", "default", "meaning"), rows),
    )


def api() -> str:
    """Return the page on the public API."""
    rows = [
        (f"`ml_chassis.{module}`", ", ".join(f"`{name}`" for name in names))
        for module, names in PUBLIC.items()
    ]
    return _derived(
        "Public API",
        "What a service's code, notebook and tests import; each name's docstring says what it\n"
        "does. All else is for the chassis alone, and may change with any version.",
        table(("module", "names"), rows),
    )


def exported_metrics() -> str:
    """Return the page on the metrics."""
    rows = [
        (
            f"`{each.name}{'_total' if each.type == 'counter' else ''}`",
            each.type,
            ", ".join(f"`{name}`" for name in metrics.labels_of(each.name) if name != "track"),
            each.documentation,
        )
        for each in metrics.described()
    ]
    labels = ((f"`{name}`", values) for name, values in metrics.LABELS.items())
    return _derived(
        "Metrics",
        "What `/metrics` shows, over all workers; each series also has the label `track`, from\n"
        f"`{PREFIX}TRACK`. The latencies of `slo.yaml` are bounds of buckets, so the share of\n"
        "requests within them is exact; without that file no slow requests are counted. No\n"
        "client can add series: the second table bounds them. Probes, `/metrics` itself and\n"
        "pages are not counted, but for those of your own routes, as `/api/docs`; of requests\n"
        "without a valid key only how many. Metrics of sources are there once one was asked,\n"
        "those of messages in `make stream`,\n"
        f"those of labels where `{PREFIX}FEEDBACK_URL` is set, and those of\n"
        "retrainings in `make retrainer`, which shows no others.",
        [
            *table(("metric", "type", "labels", "meaning"), rows),
            "",
            *table(("label", "values"), labels),
        ],
    )


def dashboards(slo: Slo) -> str:
    """Return the page on the dashboards."""
    lines: list[str] = []
    for each in panels.dashboards(slo):
        lines += [f"## {each.name.capitalize()}", ""]
        lines += [f"`monitoring/dashboards/{each.name}.json`", ""]
        rows = [
            (section, panel.title, panel.words)
            for section, found in each.sections.items()
            for panel in found
        ]
        lines += [*table(("section", "panel", "what it shows"), rows), ""]
    return _derived(
        "Dashboards",
        "`make rules` writes them for Grafana 10.1 and later, with the limits of `slo.yaml` as\n"
        "dashed lines. Import each file (Dashboards, New, Import), or let Grafana provision the\n"
        "folder. They need the recording rules beside them. Choose the service by the name of its\n"
        "job, and the tracks. Charts of your own go into another dashboard, as these are written\n"
        "anew.",
        lines[:-1],
    )


def _derived(title: str, text: str, lines: Iterable[str]) -> str:
    return "\n".join([DERIVED, f"# {title}", "", text, "", *lines, ""])


def fill(page: str, begin: str, text: str) -> str:
    """Return a page with another text between a line and the next `END`."""
    before, _, rest = page.partition(begin)
    return f"{before}{begin}{text}{END}{rest.partition(END)[2]}"


def run(project: Project) -> int:
    """Write the pages of a project; return the exit code."""
    try:
        for path in write(project):
            print(f"wrote {path}")
    except UserError as error:
        print(f"No page was written. {error}", file=sys.stderr)
        return 1
    return 0


def write(project: Project) -> list[Path]:
    """Write the pages of a project; return where they are.

    Raises:
        UserError: the project is not whole; then no page was written.
    """
    written = pages(project)
    for path, text in written.items():
        write_page(path, text)
    return list(written)


def _objectives() -> str:
    """Return a table of what slo.yaml can state."""
    rows = [
        (f"`{section}`", f"`{name}`", str(field.description))
        for section, part in Slo.model_fields.items()
        for name, field in getattr(part.annotation, "model_fields", {}).items()
    ]
    return "".join(f"{line}\n" for line in table(("section", "name", "meaning"), rows))


def _table(title: str, described: list[Column]) -> Iterator[str]:
    rows = (
        (
            *(f"`{column.name}`", column.type, _allowed(column)),
            *("yes" if column.nullable else "no", f"{column.description}{_note(column)}"),
        )
        for column in described
    )
    return table((title, "type", "values", "may be missing", "meaning"), rows)


def _note(column: Column) -> str:
    return " Personal." if column.personal else ""


def _default(value: object) -> str:
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return "none" if text in {"", "{}"} else f"`{text}`"


def _allowed(column: Column) -> str:
    """Return what values are possible, in words."""
    if column.choices:
        return ", ".join(f"`{choice}`" for choice in column.choices)
    if column.pattern:
        return f"`{column.pattern}`"
    bounds = {
        "from": column.minimum,
        "above": column.above,
        "to": column.maximum,
        "below": column.below,
    }
    return " ".join(f"{word} {value:g}" for word, value in bounds.items() if value is not None)
