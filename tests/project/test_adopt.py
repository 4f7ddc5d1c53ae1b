"""`make adopt`: real tables become projects, and what cannot be one is refused."""

import csv
import re
from collections.abc import Callable
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest

from project.combinations import DEFAULT
from project.conftest import Generate
from project.service import make_serve
from project.tools import make, run

EXAMPLE = re.compile(
    r"flight|carrier|airport|airline|passenger|weather|tailnum|\bEWR\b|\bJFK\b", re.I
)
TEXT = {".py", ".md", ".toml", ".json", ".yaml", ".yml", ".ipynb"}


class Table(NamedTuple):
    """A table, and what `make adopt` is told of it."""

    write: Callable[[Path], None]
    arguments: tuple[str, ...]


def packaged(package: str, name: str) -> str:
    """Return the text of a file of an installed package; importing it may take what is not here."""
    found = find_spec(package)
    assert found
    assert found.submodule_search_locations
    return (Path(found.submodule_search_locations[0]) / name).read_text()


def penguins(path: Path) -> None:
    """Write measures of penguins, of which some are missing."""
    path.write_text(packaged("palmerpenguins", "data/penguins.csv"))


def seattle(path: Path) -> None:
    """Write the days of a city, and whether it rained."""
    days = csv.DictReader(StringIO(packaged("vega_datasets", "_data/seattle-weather.csv")))
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, ("date", "temp_max", "temp_min", "wind", "rain"))
        table.writeheader()
        for day in days:
            told = {name: day[name] for name in table.fieldnames if name in day}
            table.writerow({**told, "rain": float(day["precipitation"]) > 0})


BINARY = Table(seattle, ("TARGET=rain", "TIME=date"))
MULTICLASS = Table(penguins, ("TARGET=species", "LEAVE_OUT=island,year"))


@pytest.fixture(scope="module")
def installed(install: Generate) -> Path:
    """Return a project, installed; it adopts several tables."""
    return install({**DEFAULT, "project_name": "Service", "description": "It predicts."})


@pytest.fixture
def project(installed: Path) -> Path:
    """Return it as it was generated."""
    for command in (("checkout", "--quiet", "."), ("clean", "--quiet", "--force", "-d")):
        done = run(installed, "git", *command)
        assert done.returncode == 0, done.stdout
    return installed


def test_a_table_with_times_becomes_a_project_that_passes_its_own_checks(
    project: Path, env: dict[str, str], tmp_path: Path
) -> None:
    adopt(BINARY, project, env, tmp_path)
    assert_it_works(project, env)


def test_so_does_one_of_classes_and_then_another_column_of_it(
    project: Path, env: dict[str, str], tmp_path: Path
) -> None:
    adopt(MULTICLASS, project, env, tmp_path)
    assert_it_works(project, env)

    own = project / "tests" / "test_features.py"
    own.write_text("def test_ours() -> None:\n    assert True\n")
    make(project, env, "adopt", "DATA=data/raw/table.csv", "TARGET=body_mass_g")

    assert "test_ours" in own.read_text()
    assert "body_mass_g: Annotated" in (project / "src/model_service/schema.py").read_text()
    assert (project / "data/raw/table.csv").is_file()
    assert_it_works(project, env)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["DATA={}", "TARGET=specie"], "species"), ([], "make adopt DATA=file.csv TARGET=column")],
    ids=["no such column", "nothing given"],
)
def test_what_cannot_be_adopted_is_refused_and_changes_nothing(
    arguments: list[str], said: str, project: Path, env: dict[str, str], tmp_path: Path
) -> None:
    penguins(tmp_path / "table.csv")

    given = [each.format(tmp_path / "table.csv") for each in arguments]
    done = run(project, "make", "adopt", *given, env=env)

    assert done.returncode != 0
    assert "Nothing was changed." in done.stdout
    assert said in done.stdout
    assert "Traceback" not in done.stdout
    assert run(project, "git", "status", "--porcelain").stdout == ""


def adopt(table: Table, project: Path, env: dict[str, str], folder: Path) -> None:
    table.write(folder / "table.csv")
    make(project, env, "adopt", f"DATA={folder / 'table.csv'}", *table.arguments)


def assert_it_works(project: Path, env: dict[str, str]) -> None:
    """Run its own checks, train and serve it, and look for what is left of the example."""
    make(project, env, "check", "train")
    assert words_of_the_example(project) == []
    with make_serve(project, env) as running:
        service = running.service
        row = service.example_row()
        assert len(service.predict([row, row]).body["predictions"]) == 2
        assert service.post("/api/row", row).status == 200


def words_of_the_example(project: Path) -> list[str]:
    """Return where the example is still named, outside of the library."""
    listed = run(project, "git", "ls-files", "--cached", "--others", "--exclude-standard").stdout
    return [
        f"{name}: {found[0]}"
        for name in listed.splitlines()
        if (project / name).suffix in TEXT and (project / name).is_file()
        if not name.startswith("chassis/")
        if (found := EXAMPLE.search((project / name).read_text()))
    ]
