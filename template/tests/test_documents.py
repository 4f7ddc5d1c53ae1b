"""What others read about this service is true; holds for any schema."""

import json
from pathlib import Path

from ml_chassis import compatibility, reference
from ml_chassis.monitoring import files
from ml_chassis.project import Project


def test_the_pages_that_are_made_from_the_code_are_current(project: Project) -> None:
    for path, page in reference.pages(project).items():
        assert path.read_text(encoding="utf-8") == page, f"{path}: run `make docs`"


def test_alerts_and_dashboards_are_those_of_the_objectives(project: Project) -> None:
    assert files.problems(project) == []


def test_no_change_of_the_interface_breaks_clients(project: Project) -> None:
    known = json.loads(Path("docs/openapi.json").read_text(encoding="utf-8"))

    changes = list(compatibility.breaking_changes(known, compatibility.interface(project)))

    assert changes == [], "if clients can follow: `make contract ACCEPT=yes`"
