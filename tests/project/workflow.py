"""Run the workflows of a generated project on this machine, their own `run:` lines unchanged.

`act` reads the YAML as GitHub does: events, needs, conditions, expressions, failing steps. Each job
starts from a clean copy of the commit, as on a new runner. Only what is not in the project is
replaced: a remote action by the stub of the same name below.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from project.tools import TOOLS, run
from render.engines import ROOT, git

# What an action does for the steps after it, done with what this machine has. An action that is not
# listed fails the run: decide first whether the workflow still means the same without it.
STUBS = {
    "actions/upload-artifact": "cat '${{ inputs.path }}'/*.json",
    "astral-sh/setup-uv": "uv --version",
}
RUNNER = "ubuntu-24.04"
# Variables by which the environment of the test suite would leak into the project's.
OURS = {"VIRTUAL_ENV", "UV", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON", "PYTHONPATH", "MFLAGS"}

# Files are equal in environments that hold the same: uv links them from its cache. And mypy keeps
# the types of the libraries for all projects in one place, where two at once would mix up theirs.
SHARING = """#!/bin/sh
case " $* " in
" sync "* | *" chassis train "* | *" pytest "*) ;;
*" mypy "*)
  [ ! -d .venv/lib/python3*/site-packages/torch ] || export MYPY_CACHE_DIR="$MYPY_CACHE_DIR-torch"
  exec flock "$MYPY_CACHE_DIR/lock" '{uv}' "$@" ;;
*) exec '{uv}' "$@" ;;
esac
'{uv}' "$@" || exit
cd .venv/lib/python3*/site-packages 2>/dev/null || exit 0
shared='{shared}'/$(ls -d -- *.dist-info | cksum | tr ' ' -)
if [ "$1" != sync ]; then
  mkdir -p "$shared"
  find . -name '*.pyc' -exec cp --link --no-clobber --parents -t "$shared" {{}} +
elif [ -d "$shared" ]; then
  cp --recursive --link --no-clobber "$shared/." .
fi
exit 0
"""

Workflow = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What a workflow said, and whether all of it succeeded."""

    succeeded: bool
    output: str

    def assert_succeeded(self) -> None:
        """Fail with the end of what the workflow said."""
        assert self.succeeded, "\n".join(["the workflow failed:", *self.output.splitlines()[-80:]])

    def jobs(self) -> set[str]:
        """Return the names of the jobs that ran and succeeded."""
        return self._found(r"^\[[^/]*/([^\]]+?)\s*\].*Job succeeded$")

    def steps(self) -> set[str]:
        """Return the names of the steps that ran and succeeded."""
        return self._found(r"Success - Main (.+?) \[[^\]]*\]$")

    def _found(self, pattern: str) -> set[str]:
        return set(re.findall(pattern, self.output, re.MULTILINE))


def environment(tools: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a newcomer's shell that shares our caches.

    Nothing of the running test suite is passed on: not its virtual environment, nor that of the
    `make test` around it. `tools` is a folder of the programs that the project expects.
    """
    outside = {
        name: value
        for name, value in os.environ.items()
        if name not in OURS and not name.startswith("MAKE")
    }
    path = [part for part in outside["PATH"].split(os.pathsep) if part != str(TOOLS)]
    shared = {"UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache/uv"))}
    # A machine may keep wheels in a folder that pip knows of. uv would load gigabytes instead.
    if "PIP_FIND_LINKS" in os.environ:
        shared["UV_FIND_LINKS"] = os.environ["PIP_FIND_LINKS"]
    shared["NO_COLOR"] = "1"
    return {**outside, "PATH": os.pathsep.join([str(tools), *path]), **shared, **(extra or {})}


def commit(project: Path) -> None:
    """Make the project a git repository with one commit, as before the first push."""
    git(project, "init", "--quiet", "--initial-branch=main")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=Start")


def read_workflow(path: Path) -> Workflow:
    """Return a parsed workflow."""
    content: dict[str | bool, Any] = yaml.safe_load(path.read_text())
    # YAML 1.1 reads the key `on` as true.
    return {"on" if key is True else str(key): value for key, value in content.items()}


def steps(workflow: Workflow) -> list[dict[str, Any]]:
    """Return the steps of all jobs of a workflow."""
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


def commands(workflow: Workflow) -> dict[str, str]:
    """Return the `run:` lines of a workflow by the names of their steps."""
    return {step.get("name", step["run"]): step["run"] for step in steps(workflow) if "run" in step}


def remote_actions(workflow: Workflow) -> set[str]:
    """Return the `owner/name@commit` of the actions that a workflow takes from elsewhere."""
    used = {step["uses"] for step in steps(workflow) if "uses" in step}
    used |= {job["uses"] for job in workflow["jobs"].values() if "uses" in job}
    # act itself serves the checkout from the local commit.
    return {action for action in used if not action.startswith(("./", "actions/checkout@"))}


def run_lines(project: Path, name: str, env: Mapping[str, str], without: str) -> None:
    """Run the `run:` lines of a workflow in the project itself, which keeps what they make.

    It is much quicker than `run_workflow`, and says nothing of jobs, events and conditions.

    Args:
        project: Where they run.
        name: The file of the workflow.
        env: The environment of each.
        without: A regular expression; lines in which it is found do not run.
    """
    for line in commands(read_workflow(project / ".github" / "workflows" / name)).values():
        if not re.search(without, line):
            done = run(project, "bash", "-e", "-c", line, env=env)
            assert done.returncode == 0, f"{line}:\n{done.stdout}"


def run_workflow(
    project: Path,
    name: str,
    env: Mapping[str, str],
    *,
    event: str = "push",
    payload: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    seconds: int = 1500,
) -> Run:
    """Run one workflow of a committed project as if an event had happened.

    Args:
        project: The project.
        name: The file of the workflow.
        env: The environment of the runner.
        event: What happened.
        payload: What GitHub tells of it.
        variables: Of the repository.
        secrets: Of the repository.
        seconds: For which it may run.

    Raises:
        LookupError: the workflow uses an action for which there is no stub.
    """
    workflow = read_workflow(project / ".github" / "workflows" / name)
    stubs = _write_stubs(project.parent / "stubs", remote_actions(workflow))
    told = project.parent / "event.json"
    told.write_text(json.dumps(payload or {}))
    done = run(
        project,
        TOOLS / "act",
        event,
        f"--eventpath={told}",
        *(f"--var={key}={value}" for key, value in (variables or {}).items()),
        *(f"--secret={key}={value}" for key, value in (secrets or {}).items()),
        f"--workflows=.github/workflows/{name}",
        f"--platform={RUNNER}=-self-hosted",
        f"--action-cache-path={project.parent / 'act'}",
        "--no-cache-server",
        # Jobs share this machine, but their time limits are meant for a runner of their own.
        "--concurrent-jobs=1",
        *(f"--local-repository={action}={folder}" for action, folder in stubs.items()),
        env=env,
        seconds=seconds,
    )
    return Run(succeeded=done.returncode == 0, output=done.stdout)


def _write_stubs(folder: Path, actions: set[str]) -> dict[str, Path]:
    unknown = {action for action in actions if action.split("@")[0] not in STUBS}
    if unknown:
        raise LookupError(f"no stub for {sorted(unknown)}; see STUBS in {__file__}")
    written = {}
    for action in actions:
        name = action.split("@")[0]
        stub = {
            "name": name,
            "inputs": {"path": {"description": "Of files.", "required": False}},
            "runs": {"using": "composite", "steps": _stub_steps(STUBS[name])},
        }
        written[action] = folder / action.replace("/", "+")
        written[action].mkdir(parents=True, exist_ok=True)
        (written[action] / "action.yml").write_text(yaml.safe_dump(stub))
    return written


def _stub_steps(command: str) -> list[dict[str, str]]:
    return [{"run": command, "shell": "bash"}]


def share_types() -> Path:
    """Return where mypy keeps the types of the libraries, beginning with those of `make lint`.

    For projects with PyTorch there is another place, as each kind would drop much of the other's.
    """
    types = ROOT / ".mypy_cache" / "projects"
    linted = ROOT / "template" / ".mypy_cache"
    for folder in (types, types.with_name(f"{types.name}-torch")):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            if linted.exists() and not any(folder.glob("3.*")):
                shutil.copytree(linted, folder, dirs_exist_ok=True)
    return types


def provide_uv(folder: Path, shared: Path) -> Path:
    """Return a folder that holds the uv that runs these tests, and nothing else.

    Each project has an environment of its own, in which Python would compile every library again,
    for some ten seconds: they share the bytecode, below `shared`.
    """
    # `uv run` names itself; it need not be on the PATH.
    uv = shutil.which(os.environ.get("UV", "uv")) or shutil.which("uv", path=str(TOOLS))
    if uv is None:
        raise LookupError("uv is not installed")
    provided = folder / "uv"
    if sys.platform == "linux":  # elsewhere `cp` is another one
        provided.write_text(SHARING.format(uv=uv, shared=shared))
        provided.chmod(0o755)
    else:
        provided.symlink_to(uv)
    return folder
