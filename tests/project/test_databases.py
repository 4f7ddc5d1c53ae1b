"""The data of a generated project in a real PostgreSQL, named by a setting."""

from pathlib import Path

from postgresql import running_postgresql
from project.tools import make


def test_it_is_named_by_a_setting(trained_project: Path, env: dict[str, str]) -> None:
    with running_postgresql() as url:
        there = {**env, "MODEL_SERVICE_DATABASE_URL": url}
        assert "10000 rows with features were built" in make(trained_project, there, "data")
