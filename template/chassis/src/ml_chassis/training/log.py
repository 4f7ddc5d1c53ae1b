"""The log of runs: what was tried, on what, with what result.

It is a table of the project's database, so it outlives `make clean`, and people who share the
database share the log.
"""

import hashlib
import math
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from ..data.store import RUNS, Store
from ..errors import UserError
from ..project import Project
from ..settings import Settings

Kind = Literal["train", "retrain", "optimise", "tune"]
PACKAGE = Path(__file__).parents[1]


class Run(BaseModel):
    """One line of the log: a training, a variant or a trial."""

    model_config = ConfigDict(frozen=True)

    at: datetime = Field(default_factory=lambda: datetime.now(UTC).replace(tzinfo=None))
    kind: Kind
    name: str
    study: str = ""
    """Trials that belong together."""
    outcome: str
    """The registered version, the gates that failed, or why it was not chosen."""
    seconds: float
    code_version: str
    data_sha256: str
    schema_sha256: str
    config_sha256: str
    parameters: dict[str, Any]
    measures: dict[str, float]
    environment: dict[str, str]


@dataclass(frozen=True)
class Log:
    """Where runs are written to."""

    store: Store
    send: Callable[[Run], None] | None = None
    """To another place, where there is one."""

    def add(self, run: Run) -> None:
        """Write a run; if that fails, say so: the run itself did not fail."""
        # JSON knows no NaN.
        known = {name: value for name, value in run.measures.items() if math.isfinite(value)}
        run = run.model_copy(update={"measures": known})
        try:
            self.store.log_run(run.model_dump())
        except UserError as error:
            print(f"The run is not in the log. {error}", file=sys.stderr)
        if self.send:
            self.send(run)

    def read(self, study: str | None = None) -> list[Run]:
        """Return the runs, the oldest first; of one study where that is given."""
        chosen = sa.select(RUNS).order_by(RUNS.c.id)
        if study is not None:
            chosen = chosen.where(RUNS.c.study == study)
        return [Run.model_validate(row) for row in self.store.query(chosen)]


def open_log(store: Store, settings: Settings) -> Log:
    """Return the log of a database, and of the MLflow server that the settings name."""
    if not (url := settings.mlflow_url.get_secret_value()):
        return Log(store)
    from .mlflow import Tracker  # its libraries take long to import

    return Log(store, Tracker(url, store.project.name).send)


def describe_run(
    project: Project,
    kind: Kind,
    name: str,
    outcome: str,
    seconds: float,
    origin: Mapping[str, Any],
    parameters: dict[str, Any],
    measures: dict[str, float],
    study: str = "",
) -> Run:
    """Return a run that has just ended; `origin` is what `train.origin` says."""
    return Run(
        kind=kind,
        name=name,
        study=study,
        outcome=outcome,
        seconds=seconds,
        code_version=origin["code_version"],
        data_sha256=origin["data_sha256"],
        schema_sha256=origin["schema_sha256"],
        config_sha256=origin["config_sha256"],
        parameters=parameters,
        measures=measures,
        environment=environment(project, origin["packages"]),
    )


def environment(project: Project, packages: Mapping[str, str]) -> dict[str, str]:
    """Return what a run depends on beside its data and training.toml.

    Args:
        project: Whose sources count, beside those of the chassis.
        packages: Versions of the libraries that make a model.
    """
    surroundings = {"platform": platform.platform(), "python": platform.python_version()}
    return {"source": _source(project)} | surroundings | dict(packages)


def _source(project: Project) -> str:
    """Return what changes with every change of the code, be it committed or not."""
    digest = hashlib.sha256()
    for path in (*sorted(PACKAGE.rglob("*.py")), *project.source_files()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
