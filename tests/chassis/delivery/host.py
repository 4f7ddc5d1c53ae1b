"""A gateway with traffic on this host, and the commands that are run beside it."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

from ml_chassis import registry
from ml_chassis.delivery import record
from ml_chassis.delivery.demo.stage import Stage
from ml_chassis.delivery.demo.traffic import Traffic
from ml_chassis.delivery.gateway import Gateway
from ml_chassis.delivery.record import Release
from waiting import wait_for

RELEASE = """
import sys
from ml_chassis import project
from ml_chassis.delivery import command
from ml_chassis.delivery.demo.stage import PACE
sys.path.insert(0, "src")
sys.exit(command.release(project.read(), sys.argv[1], PACE))
"""
"""`chassis canary VERSION`, in which a minute is two seconds."""


def chassis(stage: Stage, *arguments: str, **settings: str) -> tuple[int, str]:
    """Run a command in the copy; return its exit code, and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "ml_chassis", *arguments],
        cwd=stage.copy.folder,
        env={**os.environ, **stage.copy.environment, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


class Host(NamedTuple):
    """A gateway with traffic, in front of a champion; there is a challenger."""

    stage: Stage
    gateway: Gateway
    traffic: Traffic

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.stage.copy.environment}

    def release(self, version: str = "") -> subprocess.Popen[str]:
        """Start to release the challenger, or another version."""
        command = [sys.executable, "-c", RELEASE, version or self.stage.challenger]
        return subprocess.Popen(
            command,
            cwd=self.stage.copy.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def chassis(self, *arguments: str) -> tuple[int, str]:
        """Run a command in the copy; return its exit code, and what it said."""
        return chassis(self.stage, *arguments)

    def wait(self, condition: Callable[[Release], bool], what: str) -> None:
        """Wait until something is so of the release."""

        def holds() -> bool:
            known = record.read(self.gateway.folder)
            return known is not None and condition(known)

        wait_for(holds, what)

    def wait_for_step(self, step: int) -> None:
        """Wait until the canary gets requests in a step, by its number from 0."""
        self.wait(lambda known: (known.step, known.phase) == (step, "stepping"), f"step {step}")

    @property
    def champion(self) -> str:
        return registry.history(self.stage.copy.models)[0]
