"""Every combination of answers gives a green workflow and a service that predicts."""

from pathlib import Path

import pytest

from project.combinations import COMBINATIONS, DEFAULT, FEW_TESTS, name_of
from project.conftest import Generate
from project.containers import Engine, with_engine
from project.service import STOP_SECONDS, free_port, make_serve
from project.tools import make
from project.workflow import commands, commit, drop_commands, read_workflow, run_workflow

CI = Path(".github/workflows/ci.yml")
# Docker runs them. All of them are executed for the default in the last test, and for more
# combinations in test_image.py; without them, the rest of the workflow runs on any machine.
ENGINE_TASKS = {"make image", "make smoke", "make loadimage"}


@pytest.fixture(scope="module", params=COMBINATIONS, ids=name_of)
def project(request: pytest.FixtureRequest, generate: Generate) -> Path:
    """Return a new project, committed without the steps of its workflow that take Docker."""
    project = generate(request.param)
    drop_commands(project / CI, ENGINE_TASKS)
    commit(project)
    return project


def test_its_own_workflow_is_green(project: Path, env: dict[str, str]) -> None:
    done = run_workflow(project, CI.name, {**env, "PYTEST_ADDOPTS": FEW_TESTS})
    done.assert_succeeded()
    assert done.steps() >= set(commands(read_workflow(project / CI)))


def test_it_serves_what_it_trained(project: Path, env: dict[str, str]) -> None:
    make(project, env, "setup", "train")
    with make_serve(project, env) as running:
        service = running.service
        row = service.example_row()
        answer = service.predict([row, row])
        assert answer.status == 200
        assert answer.body["predictions"][0] == answer.body["predictions"][1]
        assert all(0 <= each <= 1 for each in answer.body["predictions"])
        assert len(set(answer.body["prediction_id"])) == 2
        assert answer.body["model_version"]

        refused = service.predict([row, {**row, "distance": "far"}])
        assert refused.status == 422
        assert [(each["row"], each["field"]) for each in refused.body["problems"]] == [
            (1, "distance")
        ]
        assert service.get("/livez").status == 200
        assert "# TYPE" in service.get("/metrics").body

        assert running.stop() < STOP_SECONDS
        assert running.processes() == []


def test_the_whole_workflow_of_the_default_is_green(
    generate: Generate, env: dict[str, str], engine: Engine
) -> None:
    project = generate(DEFAULT)
    commit(project)
    run_lines = commands(read_workflow(project / CI))
    assert set(run_lines.values()) >= ENGINE_TASKS
    done = run_workflow(project, CI.name, {**with_engine(env, engine), "PORT": str(free_port())})
    done.assert_succeeded()
    assert done.steps() >= set(run_lines)
