"""The project of docs/project.md of the library, made of its snippets as they stand there."""

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ml_chassis import project
from ml_chassis.project import Project
from ml_chassis.serving.runtime import Runtime
from ml_chassis.settings import Settings
from ml_chassis.training.estimator import Dataset
from ml_chassis.training.export import export, parity_difference
from render.engines import ROOT

PAGE = (ROOT / "template/chassis/docs/project.md").read_text(encoding="utf-8")
PACKAGE = "project_of_the_page"
ORDERS = 200


def snippet(heading: str, language: str = "python") -> str:
    """Return the code below a heading."""
    section = f"\n{PAGE}".partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found, heading
    return found[1]


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Write the project, and read it."""
    folder = tmp_path_factory.mktemp("orders")
    named = snippet("# A project", "toml")
    parts = dict(re.findall(r'^(\w+) = "model_service\.(\w+)"$', named, re.MULTILINE))
    assert list(parts) == list(project.PARTS)
    (folder / PACKAGE).mkdir()
    for part, name in parts.items():
        code = snippet(f"## {part}")
        (folder / PACKAGE / f"{name}.py").write_text(code, encoding="utf-8")
    (folder / "pyproject.toml").write_text(named.replace("model_service", PACKAGE))
    sys.path.insert(0, str(folder))
    yield project.read(folder)
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    """Return raw rows."""
    random = np.random.default_rng(0)
    price = random.uniform(0, 100, ORDERS)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "id": range(ORDERS),
            "at": [start + timedelta(hours=at) for at in range(ORDERS)],
            "country": random.choice(["DE", "FR"], ORDERS),
            "price": [None if at % 9 == 0 else each for at, each in enumerate(price)],
            "returned": price > 50,
        }
    )


def test_the_schema_is_one(orders: Project) -> None:
    contract = orders.contract

    assert (contract.task, contract.label) == ("binary", "returned")
    assert contract.schema.model_validate(contract.example_row())


def test_features_are_built_of_the_tables(orders: Project, table: pl.DataFrame) -> None:
    assert [each.name for each in orders.tables] == ["orders"]

    rows = orders.build({"orders": table}).collect().to_polars()

    names = [column.name for column in orders.contract.labelled]
    assert set(rows.columns) == {*orders.keys, *names}
    assert rows.height == ORDERS


def test_the_estimator_becomes_onnx(orders: Project, table: pl.DataFrame) -> None:
    contract = orders.contract
    raw = [contract.to_row(row) for row in table.iter_rows(named=True)]
    data = Dataset(contract, *contract.to_arrays(raw), table["returned"].to_numpy())
    estimator = orders.estimator

    model = estimator.fit(data, estimator.Parameters.model_validate({"C": 1}), 1)

    assert parity_difference(model, export(contract, model), data) < 1e-5


def test_the_routes_are_an_application(orders: Project) -> None:
    web = orders.create_web(Runtime(orders.contract, Settings()))

    assert web
    assert "/orders" in web.openapi()["paths"]


def test_the_service_is_that_of_the_example() -> None:
    code = Path("src/model_service/service.py").read_text(encoding="utf-8")

    assert code.partition('"""\n\n')[2] == snippet("## service")
