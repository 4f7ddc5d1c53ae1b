"""The service of the working folder with a fault: what a canary must be rolled back for.

`python -m ml_chassis.delivery.demo.faults KIND` serves as `chassis serve` does. The fault is put
into the process that imports the service, of which the workers are copies, so that what runs in
production knows nothing of faults. Nothing of it is kept on disk.
"""

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from ... import slo
from ...contract import Categorical, Contract, Numeric, Predictions, Rows
from ...errors import UserError
from ...project import Project, ProjectError, read
from ...serving.command import run

if TYPE_CHECKING:  # a library for metrics looks at the environment that `run` has set
    from ...serving.bento import Application
    from ...serving.scoring import Scored

Fault = Literal["errors", "slow", "crash", "hang", "nonsense", "leak", "start"]
Act = Callable[[int], Awaitable[None]]

FAILS_EVERY = 4
ENDS_EVERY = 50
SLOW_SECONDS = 1.0
LEAK_SHARE = 0.95
"""Of the budget, that is used at last: the service is not to be killed for it."""
LEAK_STEPS = 50
"""Requests in which the whole budget would be used."""
MIB = 1024 * 1024
FAULTS: dict[Fault, str] = {
    "errors": f"{1 / FAILS_EVERY:.0%} of its requests fail",
    "slow": f"each answer takes {SLOW_SECONDS:g} s longer",
    "crash": f"a worker ends at every {ENDS_EVERY}th of its requests",
    "hang": f"a worker hangs at its {ENDS_EVERY}th request",
    "nonsense": "it predicts the same for all rows",
    "leak": f"each request keeps memory, until {LEAK_SHARE:.0%} of the budget is used",
    "start": "it ends before it is ready",
}
"""What is wrong, by kind."""


@dataclass(frozen=True)
class Faulty(Project):
    """A project whose service has a fault.

    Attributes:
        fault: Its kind.
    """

    fault: Fault = "errors"

    @cached_property
    def service(self) -> Any:
        """The BentoML service, with the fault in it.

        Raises:
            ProjectError: the fault is that it does not start.
        """
        if self.fault == "start":
            mistake = NameError("name 'threshold' is not defined")
            raise ProjectError(f"{self.path('service')}: {mistake!r}")
        service = super().service
        application: Application = service.inner.application
        if self.fault == "nonsense":
            _answer_alike(self.contract, application)
        else:
            _act_before(application, _act(self.fault, application))
        return service


def _act_before(application: "Application", act: Act) -> None:
    """Let something happen before each request is scored; it is told its number, from 1."""
    scorer, numbers = application.runtime.scorer, count(1)
    score = scorer.score

    async def faulty(rows: Rows, *, is_tried: bool = False) -> "Scored":
        await act(next(numbers))
        return await score(rows, is_tried=is_tried)

    scorer.score = faulty  # type: ignore[method-assign]


def _act(fault: Fault, application: "Application") -> Act:
    if fault == "leak":
        return _Leak(application.settings.workers)
    return {"errors": _fail, "slow": _wait, "crash": _crash, "hang": _hang}[fault]


async def _fail(number: int) -> None:
    if number % FAILS_EVERY == 0:
        raise RuntimeError("this is the fault that was asked for")


async def _wait(_: int) -> None:
    await asyncio.sleep(SLOW_SECONDS)


async def _crash(number: int) -> None:
    if number % ENDS_EVERY == 0:
        os._exit(1)


async def _hang(number: int) -> None:
    if number % ENDS_EVERY == 0:
        threading.Event().wait()  # nobody sets it, and the event loop waits as well


class _Leak:
    """Keeps some memory at each request, while there is room in the budget."""

    def __init__(self, workers: int) -> None:
        """Take how many processes share it.

        Raises:
            SloError: slo.yaml, which has the budget, cannot be read.
        """
        self._budget = slo.read().budget.memory_mib * MIB
        self._workers = workers
        self._kept: list[bytes] = []

    async def __call__(self, _: int) -> None:
        """Keep some more."""
        if len(self._kept) < self._most:
            # With other bytes than 0, or the system would give the memory only when it is read.
            self._kept.append(b"\1" * (self._budget // LEAK_STEPS))

    @cached_property
    def _most(self) -> int:
        """How often this worker may keep some; asked for when all of them run."""
        from ...monitoring import metrics

        room = LEAK_SHARE * self._budget - metrics.memory_bytes()
        return int(room / self._workers / (self._budget // LEAK_STEPS))


def _answer_alike(contract: Contract, application: "Application") -> None:
    """Let each model that is loaded from now on answer every row with the same."""
    from ...serving.predictor import Predictor

    if application.served.predictor is None:  # the fallback alone answers
        return
    (answer,) = application.served.predictor.predict(*contract.example_arrays())
    wrong = _far_from(contract, answer)

    def predict(self: Predictor, numeric: Numeric, categorical: Categorical) -> Predictions:  # noqa: ARG001
        return np.repeat(wrong[np.newaxis], len(numeric), axis=0)

    Predictor.predict = predict  # type: ignore[method-assign]


def _far_from(contract: Contract, answer: Predictions) -> Predictions:
    """Return a possible prediction that is as far as can be from another one, shape (*width,).

    So it lies where few predictions are, and their distribution changes.
    """
    if contract.classes:
        certain: Predictions = np.eye(len(contract.classes), dtype=np.float32)[answer.argmin()]
        return certain
    label = contract.label_column
    ends = (label.minimum, label.above), (label.maximum, label.below)
    bounds = [next((each for each in end if each is not None), None) for end in ends]
    low, high = (0.0, 1.0) if contract.task == "binary" else cast(list[float], bounds)
    return np.array(low if answer - low > high - answer else high, np.float32)


def main() -> None:
    """Serve with the fault that is named, until stopped."""
    kind = next((each for each in FAULTS if sys.argv[1:] == [each]), None)
    if kind is None:
        sys.exit(f"Name one fault: {', '.join(FAULTS)}.")
    gc.disable()  # as `chassis serve` does
    sys.path.insert(0, os.getcwd() + "/src")  # noqa: PTH109 - as `chassis` does
    try:
        project = read()
        run(Faulty(project.name, project.parts, kind))
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
