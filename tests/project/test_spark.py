"""Features that a real Spark builds are those that Polars builds."""

import os
import shutil
from pathlib import Path

import pytest

from project.tools import run

SPARK = ("--with", "pyspark[sql]>=4,<5", "--with", "pandas<3")
SETTINGS = """
spark.ui.enabled false
spark.sql.shuffle.partitions 2
spark.driver.extraJavaOptions -XX:TieredStopAtLevel=1 -XX:+UseSerialGC
"""
"""For some thousand rows on one machine: the default is 200 partitions, and Java compiles for long.
"""
COMPARE = """
import os, sys
from ml_chassis import project
from ml_chassis.data import command
from ml_chassis.data.store import Store

stores = []
for engine in ("polars", "spark"):
    url = f"sqlite:///{sys.argv[1]}/{engine}.db"
    os.environ |= {"MODEL_SERVICE_ENGINE": engine, "MODEL_SERVICE_DATABASE_URL": url}
    assert command.run(project.read(), None) == 0
    stores.append(Store(project.read(), url))
assert "pyspark" in sys.modules
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
    (tmp_path / "spark-defaults.conf").write_text(SETTINGS)
    command = ("uv", "run", "--no-sync", *SPARK, "python", "-c", COMPARE, str(tmp_path))
    done = run(trained_project, *command, env={**env, "SPARK_CONF_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("10000 rows with features were built") == 2, done.stdout


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
