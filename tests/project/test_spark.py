"""Features that a real Spark builds are those that Polars builds."""

import os
import shutil
from pathlib import Path

import pytest

from project.tools import run

SPARK = ("--with", "pyspark[sql]>=4,<5", "--with", "pandas<3")
COMPARE = """
import sys
from ml_chassis import project
from ml_chassis.data.store import Store
stores = [Store(project.read(), url) for url in sys.argv[1:]]
assert stores[0].refused_shares() == stores[1].refused_shares()
assert stores[0].features().height > 9_000
assert stores[0].features().equals(stores[1].features())
"""


@pytest.fixture
def java() -> str:
    """Return where Java is, or skip the test and say that there is none."""
    found = shutil.which("java")
    if not found:
        # Where it must not be missed, as in our own CI, it is a failure.
        assert "REQUIRE_JAVA" not in os.environ, "there is no Java"
        pytest.skip("SPARK IS NOT TESTED: there is no Java")
    return found


@pytest.mark.usefixtures("java")
def test_spark_builds_the_same_features(
    trained_project: Path, env: dict[str, str], tmp_path: Path
) -> None:
    urls = {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("polars", "spark")}
    for name, url in urls.items():
        chosen = {"MODEL_SERVICE_ENGINE": name, "MODEL_SERVICE_DATABASE_URL": url}
        command = ("uv", "run", "--no-sync", *SPARK, "chassis", "data")
        done = run(trained_project, *command, env={**env, **chosen})
        assert "10000 rows with features were built" in done.stdout, done.stdout
    compared = run(trained_project, ".venv/bin/python", "-c", COMPARE, *urls.values(), env=env)
    assert compared.returncode == 0, compared.stdout


def test_a_machine_without_java_is_told(
    trained_project: Path, env: dict[str, str], tmp_path: Path
) -> None:
    chosen = {
        "MODEL_SERVICE_ENGINE": "spark",
        "MODEL_SERVICE_DATABASE_URL": f"sqlite:///{tmp_path}/spark.db",
        "JAVA_HOME": str(tmp_path),
    }
    command = ("uv", "run", "--no-sync", *SPARK, "chassis", "data")
    done = run(trained_project, *command, env={**env, **chosen})
    assert done.returncode == 1
    assert "needs Java 17 or newer" in done.stdout
    assert "Traceback" not in done.stdout
