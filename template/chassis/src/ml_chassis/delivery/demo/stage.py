"""Where releases are played: a copy of the project with two models, behind a gateway."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import tomlkit
import yaml

from ... import registry
from ...monitoring import rules
from ...monitoring.rules import release as release_rules
from ...observe.demo import copied
from ...observe.demo.copied import Copy
from ...observe.demo.quicker import quicker
from ...programs import LOCAL, free_port
from ...project import Project
from ...settings import PREFIX, Settings
from ...slo import SLO, Slo
from ...training.config import CONFIG
from ..gateway import Gateway, Place, Watched, running_gateway
from ..progress import Pace
from .faults import Fault

FASTER = 30
"""A minute of the rules is two seconds."""
PACE = Pace(delay=Pace().delay / FASTER, interval=Pace().interval / FASTER)
SCRAPE_SECONDS = 1
WEIGHTS = [10, 25, 50]
LEAST_REQUESTS = 100
SLOW_MS = 800
"""What is slow, at least: a laptop that does all of this at once pauses now and then."""
EARLIER = timedelta(days=7)
FAULTY = (sys.executable, "-m", "ml_chassis.delivery.demo.faults")
NO_DRAIN = {f"{PREFIX}DRAIN_SECONDS": "0"}


class Stage(NamedTuple):
    """What is there before the first release.

    Attributes:
        copy: Of the project.
        stated: Its objectives, as they are while releases are played.
        champion: The version that is served.
        challenger: The one that is released.
    """

    copy: Copy
    stated: Slo
    champion: str
    challenger: str

    @property
    def job(self) -> str:
        """How Prometheus calls the service."""
        return self.stated.job or self.copy.project.name

    @property
    def place(self) -> Place:
        """Where replicas run."""
        return Place(self.copy.folder, {**self.copy.environment, **NO_DRAIN})

    def canary(self, fault: Fault | None) -> Place:
        """Return where the canary runs; None is one without a fault."""
        return self.place._replace(command=(*FAULTY, fault)) if fault else self.place


def make(project: Project, stated: Slo, folder: Path) -> Stage:
    """Copy the project in the working folder, and train two models on rows that differ a little.

    Args:
        project: The project.
        stated: Its objectives.
        folder: Of the copy; what is in it is removed first.

    Raises:
        UserError: a model cannot be trained.
    """
    made, quick = copied.copy(project, folder), _quick(stated)
    text = yaml.safe_dump(quick.model_dump(mode="json"), sort_keys=False)
    (made.folder / SLO).write_text(text, encoding="utf-8")
    copied.train(made)
    champion = registry.history(made.models)[0]
    _change(made)
    copied.train(made)
    challenger = registry.history(made.models)[0]
    registry.promote(project.contract, made.models, champion, "it is released later")
    return Stage(made, quick, champion, challenger)


def _quick(stated: Slo) -> Slo:
    """Return objectives with which a release takes a minute at little traffic."""
    release = {"weights": WEIGHTS, "least_requests": LEAST_REQUESTS}
    slow = max(stated.objectives.latency_p99_ms, SLOW_MS)
    return stated.model_copy(
        update={
            "release": stated.release.model_copy(update=release),
            "objectives": stated.objectives.model_copy(update={"latency_p99_ms": slow}),
        }
    )


def _change(made: Copy) -> None:
    """Let the next training see other rows."""
    path = made.folder / CONFIG
    written = tomlkit.parse(path.read_text(encoding="utf-8"))
    before = made.config
    if before.test_from:
        written["test_from"] = before.test_from - EARLIER
    else:
        written["seed"] = before.seed + 1
    path.write_text(tomlkit.dumps(written), encoding="utf-8")


@contextmanager
def running(stage: Stage, folder: Path) -> Iterator[Gateway]:
    """Run a gateway of the copy until the block ends.

    Args:
        stage: What is there.
        folder: Takes its files.

    Raises:
        UserError: a program is missing, or does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rules.yaml"
    groups = rules.rules(stage.stated)["groups"]
    found = {"groups": [each for each in groups if each["name"] == release_rules.GROUP]}
    path.write_text(yaml.safe_dump(quicker(found, FASTER), sort_keys=False), encoding="utf-8")
    configured = Settings(host=LOCAL, port=free_port(), models_dir=str(stage.copy.models))
    watched = Watched(stage.job, path, SCRAPE_SECONDS)
    with running_gateway(folder, configured, watched, stage.place) as (gateway, _):
        yield gateway
