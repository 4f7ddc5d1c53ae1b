"""Every combination of answers gives a green workflow and a service that predicts."""

from pathlib import Path

import pytest

from ml_chassis.programs import free_port
from project.combinations import COMBINATIONS, DEFAULT, name_of
from project.conftest import Generate, loosen
from project.containers import Engine, with_engine
from project.service import STOP_SECONDS, make_serve
from project.workflow import commands, commit, read_workflow, run_lines, run_workflow
from render.pairwise import Combination

CI = Path(".github/workflows/ci.yml")
OTHERS = [each for each in COMBINATIONS if each != DEFAULT]
# What a project does hardly depends on its answers: all of its own tests run for the default, those
# of the model for one project of the other family, for all those that read what was generated.
FIRST_OF_FAMILY = {each["model_family"]: each for each in reversed(COMBINATIONS)}
FEW_TESTS = "tests/test_documents.py tests/test_features.py"
TESTS_OF_THE_MODEL = "tests/test_model.py"


@pytest.mark.parametrize("combination", OTHERS, ids=name_of)
def test_its_own_workflow_is_green_and_it_serves_what_it_trained(
    combination: Combination, generate: Generate, env: dict[str, str]
) -> None:
    project = generate(combination)
    first = combination in FIRST_OF_FAMILY.values()
    tests = f"{FEW_TESTS} {TESTS_OF_THE_MODEL if first else ''}"
    commit(project)

    # What takes Docker is executed for the default below, and for the opposite in test_image.py.
    run_lines(project, CI.name, {**env, "PYTEST_ADDOPTS": tests}, without="image|smoke")

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
    loosen(project)
    commit(project)
    lines = commands(read_workflow(project / CI))
    assert {"make image", "make smoke", "make loadimage"} <= set(lines.values())
    # No index has the library: it comes from its folder.
    given = {**with_engine(env, engine), "PORT": str(free_port()), "UV_INDEX": ""}
    done = run_workflow(project, CI.name, given)
    done.assert_succeeded()
    assert done.steps() >= set(lines)
