"""Exposures and outcomes of an A/B test that services have made."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np

from ...contract import Contract
from ...decision import Decision
from ...errors import UserError
from ...feedback.sample import ARMS, CHALLENGER
from ...feedback.store import Declared, Store, Unit, utc_now
from ...measures import measures_of
from ...monitoring.quality import truth
from ...settings import PREFIX
from ...slo import Experiment
from .analysis import Units
from .statistics import Numbers

WRITTEN = timedelta(seconds=5)
"""For exposures to be in the database: replicas write at different moments, and an arm of which
less is written yet would look as if units were lost."""


class Served(NamedTuple):
    """An A/B test as it is known now.

    Attributes:
        name: Of the test.
        begun: When, in UTC, without saying so.
        plan: As it was declared.
        decision: Likewise.
        units: That were exposed.
        failed: Share of the challenger's answers that the champion gave, as it failed.
        others: Versions that answered, beside the champion and challenger of the beginning.
    """

    name: str
    begun: datetime
    plan: Experiment
    decision: Decision | None
    units: Units
    failed: float
    others: list[str]


def read_served(contract: Contract, url: str, name: str) -> Served:
    """Return the A/B test of a name, or the one that was declared last.

    The outcome of a unit is known when the first label of its predictions is: where higher outcomes
    are better it is the value of the decision, else the loss.

    Args:
        contract: The schema.
        url: Database of predictions and labels.
        name: Of the test; "" is the last one.

    Raises:
        DataError: the database cannot be read.
        UserError: there is none, an arm has no unit, or no outcome can be computed.
    """
    store = Store(contract, url, is_read=True)
    try:
        declared = store.declared(name)
        if declared is None:
            raise UserError(
                f"There is no A/B test{f' {name}' if name else ''}: begin one with {PREFIX}"
                "EXPERIMENT=NAME make serve, or give INPUT."
            )
        until = utc_now() - WRITTEN
        found, answered = store.units(declared.name, until), store.answered_by(declared.name)
    finally:
        store.close()
    plan = Experiment.model_validate(declared.plan)
    worth = Decision.model_validate(declared.decision) if declared.decision else None
    kept = [each for each in found if len(each.arms) == 1]
    for arm in ARMS:
        if (arm,) not in {each.arms for each in kept}:
            raise UserError(f"{declared.name}: no unit of the {arm} was answered yet.")
    units = Units(
        challenger=np.array([each.arms == (CHALLENGER,) for each in kept]),
        outcome=_outcomes(contract, plan, worth, kept),
        at=np.array([each.at for each in kept], "datetime64[us]"),
        repeated=sum(each.answers - 1 for each in kept),
        mixed=len(found) - len(kept),
    )
    return Served(
        declared.name,
        declared.declared_at,
        plan,
        worth,
        units,
        _failed(declared, answered),
        sorted({version for _, version in answered} - {declared.champion, declared.challenger}),
    )


def _outcomes(
    contract: Contract, plan: Experiment, decision: Decision | None, units: Sequence[Unit]
) -> Numbers:
    """Return the outcome of each unit; NaN where it is not known."""
    found = np.full(len(units), np.nan)
    if plan.better == "higher":
        if decision is None:
            raise UserError(
                "experiment.better in slo.yaml: higher is the value of decisions, and the champion "
                "knows no [decision] of training.toml: take lower, the loss, or give INPUT."
            )
        known = [at for at, each in enumerate(units) if None not in {each.label, each.acts}]
        label, acts = (
            np.array([getattr(units[at], name) for at in known], bool) for name in ("label", "acts")
        )
        found[known] = decision.values(label, acts)
        return found
    labels = {at: each.label for at, each in enumerate(units) if each.label is not None}
    if labels:
        predicted = np.array([units[at].prediction for at in labels], np.float64)
        label = truth(contract, [*labels.values()])
        found[[*labels]] = measures_of(contract.task).losses(label, predicted)
    return found


def _failed(declared: Declared, answered: Mapping[tuple[str, str], int]) -> float:
    """Return the share of the challenger's answers that the champion gave."""
    if declared.champion == declared.challenger:  # an A/A test: nobody can tell
        return 0.0
    whole = sum(count for (arm, _), count in answered.items() if arm == CHALLENGER)
    return answered.get((CHALLENGER, declared.champion), 0) / max(whole, 1)
