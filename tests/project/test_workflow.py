"""The runner of workflows fails where GitHub would fail, or the other tests would prove nothing."""

from pathlib import Path

import pytest

from project.workflow import Run, commands, commit, read_workflow, run_workflow

CHECKOUT = "actions/checkout@0000000000000000000000000000000000000001"
SETUP_UV = "astral-sh/setup-uv@0000000000000000000000000000000000000002"
WORKFLOW = """
on: push
jobs:
  first:
    runs-on: ubuntu-24.04
    steps:
      - uses: {checkout}
      - uses: {action}
      - run: {command}
  second:
    needs: first
    runs-on: ubuntu-24.04
    steps:
      - uses: {checkout}
      - run: test -f committed && test ! -e made-by-first && echo "clean checkout"
  on-release:
    if: github.event_name == 'release'
    runs-on: ubuntu-24.04
    steps:
      - run: exit 1
"""


RETRAIN = "retrain.yml"


def run(folder: Path, env: dict[str, str], command: str, action: str = SETUP_UV) -> Run:
    project = folder / "project"
    workflow = project / ".github" / "workflows" / "ci.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_text(WORKFLOW.format(checkout=CHECKOUT, action=action, command=command))
    (project / "committed").touch()
    commit(project)
    return run_workflow(project, "ci.yml", env)


def test_each_job_starts_from_a_clean_checkout(tmp_path: Path, env: dict[str, str]) -> None:
    done = run(tmp_path, env, "touch made-by-first")
    done.assert_succeeded()
    assert done.jobs() == {"first", "second"}
    assert "touch made-by-first" in done.steps()
    assert "clean checkout" in done.output


def test_a_failing_command_fails_the_workflow_and_what_needs_it(
    tmp_path: Path, env: dict[str, str]
) -> None:
    done = run(tmp_path, env, "test -e nowhere")
    assert not done.succeeded
    assert done.jobs() == set()


def test_an_action_that_nobody_has_looked_at_is_refused(
    tmp_path: Path, env: dict[str, str]
) -> None:
    with pytest.raises(LookupError, match="someone/unknown"):
        run(tmp_path, env, "true", action="someone/unknown@v1")


def test_an_alert_retrains_in_the_workflow_and_its_report_is_kept(
    trained_project: Path, env: dict[str, str]
) -> None:
    lines = commands(read_workflow(trained_project / ".github" / "workflows" / RETRAIN))
    # No index has the library: it comes from its folder.
    given = {**env, "UV_INDEX": ""}
    by = "alert $(touch made) 'Drift'"
    done = run_workflow(
        trained_project,
        RETRAIN,
        given,
        event="repository_dispatch",
        payload={"action": "retrain", "client_payload": {"by": by}},
        variables={"MODEL_SERVICE_MODELS_DIR": f"{trained_project}/models"},
        secrets={"MODEL_SERVICE_DATABASE_URL": f"sqlite:///{trained_project}/data/service.db"},
    )
    done.assert_succeeded()
    assert done.steps() >= {*lines, "Keep the reports"}
    assert '"outcome": "nothing_new"' in done.output
    assert f'"who": "{by}"' in done.output


def test_without_a_registry_the_workflow_does_nothing(
    trained_project: Path, env: dict[str, str]
) -> None:
    done = run_workflow(trained_project, RETRAIN, env, event="schedule")
    done.assert_succeeded()
    assert done.jobs() == set()
